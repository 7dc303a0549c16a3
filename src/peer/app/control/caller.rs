//! The calling process's end of the control socket.

use super::{Ask, Frame, with_short_path};
use crate::peer::app::audience::{Audience, Here};
use crate::peer::app::command::Command;
use crate::peer::app::shell::{LEFT, Typing};
use crate::threads;
use crossbeam_channel::{Receiver, never, select};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Whether a peer uses this state folder and takes commands.
pub fn is_running(state: &Path) -> bool {
    connect(state).is_ok()
}

/// Connects to the peer that uses this state folder.
pub fn connect(state: &Path) -> io::Result<UnixStream> {
    with_short_path(state, |path| UnixStream::connect(path))
}

/// Has the peer that uses this state folder carry out a command, and prints its answers here. Gives whether
/// all went well, or `None` if no peer uses the folder. A download is left to that peer if somebody types on.
///
/// # Errors
/// If the peer does not answer to the end.
pub fn ask(state: &Path, ask: &Ask, stop: &Receiver<()>, typing: &Typing) -> io::Result<Option<bool>> {
    let Ok(stream) = connect(state) else { return Ok(None) };
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let (sender, frames) = crossbeam_channel::bounded(16);
    let answers = BufReader::new(stream.try_clone()?);
    let thread = threads::spawn("answers", move || {
        for line in answers.lines() {
            let frame = line.and_then(|line| Ok(serde_json::from_str::<Frame>(&line)?));
            let is_last = frame.is_err();
            if sender.send(frame).is_err() || is_last {
                return;
            }
        }
    })?;
    let here = Here::default();
    let enter = if matches!(ask.command, Command::Download(_)) { typing.enter() } else { never() };
    let well = loop {
        select! {
            recv(frames) -> frame => match frame {
                Ok(Ok(Frame::Out(text))) => {
                    if let Err(why) = here.print(&text) {
                        break Err(why);
                    }
                }
                Ok(Ok(Frame::Complaint(why))) => here.complain(&why),
                Ok(Ok(Frame::Progress(gauges))) => here.progress(&gauges),
                Ok(Ok(Frame::End(well))) => break Ok(Some(well)),
                Ok(Err(why)) => break Err(why),
                Err(_) => break Err(io::Error::other("the peer ended before it had answered")),
            },
            recv(enter) -> line => {
                typing.keep(line.ok());
                here.progress(&[]);
                break here.print(LEFT).map(|()| Some(true));
            }
            recv(stop) -> _ => {
                here.complain("stopped waiting; the running peer goes on with what it was told");
                break Ok(Some(false));
            }
        }
    };
    here.progress(&[]);
    let _ = stream.shutdown(std::net::Shutdown::Both); // it may be closed already
    drop(frames);
    let _ = thread.join();
    well
}
