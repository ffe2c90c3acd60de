//! Waiting for a server or another program, until it answers or a stop is requested.

use crate::error::Result;
use crate::progress::{Progress, check_stop};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// How often it is asked whether to stop.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// The next message; `None` when there will be none. The other side may never answer: it is left to itself after a stop.
///
/// # Errors
/// [`Error::Interrupted`](crate::error::Error::Interrupted) on request, with `kept` as its hint.
pub(super) fn next<T>(messages: &Receiver<T>, kept: &str, progress: &dyn Progress) -> Result<Option<T>> {
    loop {
        check_stop(progress, || kept.into())?;
        match messages.recv_timeout(POLL) {
            Ok(message) => return Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::progress::Silent;
    use crate::progress::test_support::StopsAfter;
    use std::sync::mpsc::channel;

    #[test]
    fn messages_come_until_the_sender_goes_and_silence_can_be_ended() {
        let (sender, receiver) = channel();
        sender.send(1).unwrap();
        assert_eq!(next(&receiver, "", &Silent).unwrap(), Some(1));
        let error = next(&receiver, "kept", &StopsAfter::new(2)).unwrap_err();
        assert!(matches!(error, Error::Interrupted { .. }));
        assert_eq!(error.hint(), Some("kept".into()));
        drop(sender);
        assert_eq!(next(&receiver, "", &Silent).unwrap(), None);
    }
}
