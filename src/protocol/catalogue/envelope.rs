//! A request or a reply as a line: its `id`, whether it was granted, and the JSON around it. Pure.

use serde::{Deserialize, Serialize};

use super::{Entry, Event, Refusal, Reply, Request};

/// A request with the number that its reply will carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the peer; the reply repeats it.
    pub id: u64,
    /// The request itself.
    #[serde(flatten)]
    pub request: Request,
}

/// A line from the tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A notice sent by the tracker on its own.
    Event(Event),
    /// The reply to a call.
    Reply {
        /// The `id` of the call; `None` if the call had no readable one.
        id: Option<u64>,
        /// The reply, or why the request was refused.
        result: Result<Reply, Refusal>,
    },
}

/// How a reply is written in its line.
#[derive(Serialize, Deserialize)]
struct ReplyLine<T> {
    id: Option<u64>,
    status: Status,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Status {
    Success,
    Error,
}

#[derive(Serialize, Deserialize)]
struct ErrorBody {
    message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    choices: Vec<Entry>,
}

/// A line that is not a valid call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCall {
    /// The call's `id`, if it could be read.
    pub id: Option<u64>,
    /// What is wrong with the line: one sentence for people.
    pub message: String,
}

impl Call {
    /// Reads a line, without its line end.
    pub fn parse(line: &[u8]) -> Result<Call, BadCall> {
        #[derive(Deserialize)]
        struct Head {
            id: Option<u64>,
        }
        serde_json::from_slice(line).map_err(|error| {
            let head: Result<Head, _> = serde_json::from_slice(line);
            match head {
                Ok(Head { id }) => {
                    BadCall { id, message: format!("cannot read the request: {}", plain(&error)) }
                }
                Err(_) => BadCall { id: None, message: "a line must be a JSON object with an `id`".into() },
            }
        })
    }

    /// The line, with its line end.
    pub fn line(&self) -> String {
        to_line(self)
    }
}

impl Answer {
    /// Reads a line, without its line end.
    ///
    /// # Errors
    /// One sentence on what is wrong with the line.
    pub fn parse(line: &[u8]) -> Result<Answer, String> {
        #[derive(Deserialize)]
        struct Head {
            status: Option<Status>,
        }
        let head: Head = read(line)?;
        match head.status {
            None => read(line).map(Answer::Event),
            Some(Status::Success) => {
                let reply: ReplyLine<Reply> = read(line)?;
                Ok(Answer::Reply { id: reply.id, result: Ok(reply.body) })
            }
            Some(Status::Error) => {
                let reply: ReplyLine<ErrorBody> = read(line)?;
                let ErrorBody { message, choices } = reply.body;
                Ok(Answer::Reply { id: reply.id, result: Err(Refusal { message, choices }) })
            }
        }
    }

    /// The line, with its line end.
    pub fn line(self) -> String {
        match self {
            Answer::Event(event) => to_line(&event),
            Answer::Reply { id, result: Ok(body) } => {
                to_line(&ReplyLine { id, status: Status::Success, body })
            }
            Answer::Reply { id, result: Err(Refusal { message, choices }) } => {
                to_line(&ReplyLine { id, status: Status::Error, body: ErrorBody { message, choices } })
            }
        }
    }
}

fn read<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| format!("cannot read the tracker's line: {}", plain(&error)))
}

/// The error without its line number, which is always 1.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

fn to_line(value: &impl Serialize) -> String {
    // These types have string keys and no fallible parts, so this cannot fail. An empty line would
    // be a keep-alive.
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}
