//! Tests that no wake-up is lost, and that most cost nothing.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use super::*;

const LONG: Option<Duration> = Some(Duration::from_secs(60));

fn socket_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

#[test]
fn mail_left_in_the_box_ends_the_wait() {
    let (mailbox, mut inbox) = mailbox(4).unwrap();
    let (socket, _far) = socket_pair();
    mailbox.post(1).unwrap();
    mailbox.post(2).unwrap();
    for expected in [1, 2] {
        let started = Instant::now();
        assert_eq!(inbox.wait(&socket, Interest::READ, LONG).unwrap(), Ready::default());
        assert!(started.elapsed() < LONG.unwrap());
        assert_eq!(inbox.take(), Some(expected));
    }
    assert_eq!(inbox.take(), None);
}

#[test]
fn the_socket_ends_the_wait() {
    let (_mailbox, mut inbox) = mailbox::<()>(1).unwrap();
    let (socket, mut far) = socket_pair();
    assert!(inbox.wait(&socket, Interest::WRITE, LONG).unwrap().writable);
    let timed_out = inbox.wait(&socket, Interest::READ, Some(Duration::from_millis(1))).unwrap();
    assert_eq!(timed_out, Ready::default());
    far.write_all(b"x").unwrap();
    assert_eq!(inbox.wait(&socket, Interest::READ, LONG).unwrap(), Ready { readable: true, writable: false });
}

#[test]
fn a_socket_that_hung_up_is_reported_even_without_interest() {
    let (_mailbox, mut inbox) = mailbox::<()>(1).unwrap();
    let (socket, far) = socket_pair();
    socket.shutdown(std::net::Shutdown::Both).unwrap();
    drop(far);
    assert!(inbox.wait(&socket, Interest::default(), LONG).unwrap().readable);
}

#[test]
fn a_full_box_gives_the_mail_back_and_tells_its_owner() {
    let (mailbox, mut inbox) = mailbox(1).unwrap();
    mailbox.post("first").unwrap();
    assert!(!inbox.overflowed());
    assert_eq!(mailbox.post("second"), Err(Undelivered::Full("second")));
    assert!(inbox.overflowed());
    inbox.wait_for_mail(LONG).unwrap();
    assert_eq!(inbox.take(), Some("first"));
    drop(inbox);
    assert_eq!(mailbox.post("third"), Err(Undelivered::Closed("third")));
}

#[test]
fn mail_that_nobody_read_is_dropped_with_the_inbox() {
    let (mailbox, inbox) = mailbox(4).unwrap();
    let mail = Arc::new(());
    mailbox.post(Arc::clone(&mail)).unwrap();
    drop(inbox);
    assert_eq!(Arc::strong_count(&mail), 1);
    assert!(mailbox.post(mail).is_err());
}

#[test]
fn a_wake_before_the_wait_is_not_lost() {
    let (mailbox, mut inbox) = mailbox::<()>(1).unwrap();
    for _ in 0..100 {
        mailbox.wake();
        let started = Instant::now();
        inbox.wait_for_mail(LONG).unwrap();
        assert!(started.elapsed() < LONG.unwrap(), "it slept until the time was over");
        assert_eq!(inbox.take(), None, "it was woken without mail");
    }
}

/// If one wake-up were lost, the owner, which has no time-out, would sleep forever.
#[test]
fn stress_no_wake_up_is_lost() {
    const POSTERS: usize = 4;
    const EACH: usize = 20_000;
    let (mailbox, mut inbox) = mailbox(64).unwrap();
    let (socket, _far) = socket_pair();
    let posters: Vec<_> = (0..POSTERS)
        .map(|_| {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                for nth in 0..EACH {
                    let mut mail = nth;
                    while let Err(Undelivered::Full(back)) = mailbox.post(mail) {
                        mail = back;
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut taken = 0;
    while taken < POSTERS * EACH {
        inbox.wait(&socket, Interest::READ, None).unwrap();
        while inbox.take().is_some() {
            taken += 1;
        }
    }
    posters.into_iter().for_each(|poster| poster.join().unwrap());
    assert_eq!(inbox.take(), None);
}

/// Two owners that answer each other. Every single wake-up is needed, and each comes while the
/// other owner falls asleep.
#[test]
fn stress_ping_pong() {
    const ROUNDS: usize = 20_000;
    let (to_far, mut far) = mailbox(1).unwrap();
    let (to_near, mut near) = mailbox(1).unwrap();
    let echo = thread::spawn(move || {
        for _ in 0..ROUNDS {
            to_near.post(next(&mut far)).unwrap();
        }
    });
    for round in 0..ROUNDS {
        to_far.post(round).unwrap();
        assert_eq!(next(&mut near), round);
    }
    echo.join().unwrap();
}

fn next(inbox: &mut Inbox<usize>) -> usize {
    loop {
        if let Some(mail) = inbox.take() {
            return mail;
        }
        inbox.wait_for_mail(None).unwrap();
    }
}

#[test]
fn the_pipe_of_other_systems_rings_too() {
    let bell = pipe::Bell::new().unwrap();
    for _ in 0..100_000 {
        // More than a pipe holds; it must not block.
        bell.ring();
    }
    let mut fds = [PollFd::from_borrowed_fd(bell.as_fd(), PollFlags::IN)];
    assert_eq!(poll(&mut fds, None).unwrap(), 1);
    let quiet = pipe::Bell::new().unwrap();
    quiet.ring();
    quiet.hush();
    let mut fds = [PollFd::from_borrowed_fd(quiet.as_fd(), PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&Timespec::default())).unwrap(), 0);
}
