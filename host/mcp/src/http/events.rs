//! The body of an answer as events.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sse_stream::{Error, Sse};

use super::sse::Parser;

/// Events as they come. It ends with the first error.
pub(crate) type Events = BoxStream<'static, Result<Sse, Error>>;

/// The events of a body, each of at most so many bytes.
pub(crate) fn events(body: Incoming, longest: usize) -> Events {
    let start = Some((body, Parser::new(longest)));
    let batches = stream::unfold(start, |state| async move {
        let (mut body, mut parser) = state?;
        loop {
            let batch: Vec<Result<Sse, Error>> = match body.frame().await? {
                Err(error) => vec![Err(Error::Body(error.into()))],
                Ok(frame) => match frame.data_ref().map(|data| parser.feed(data)) {
                    None => continue,
                    Some(Ok(events)) if events.is_empty() => continue,
                    Some(Ok(events)) => events.into_iter().map(Ok).collect(),
                    Some(Err(error)) => vec![Err(Error::Body(error.into()))],
                },
            };
            let broken = batch.iter().any(Result::is_err);
            return Some((stream::iter(batch), (!broken).then_some((body, parser))));
        }
    });
    batches.flatten().boxed()
}
