//! The UDP probe: one datagram, and the first that comes back.
//!
//! Silence is all there is to see of many who are well, so there is no probe without a question
//! that is answered; who has none to ask looks at another port, over TCP or HTTP.

use std::cell::Cell;
use std::io;

use memchr::memmem;
use weir_config::model::{Address, Connect, Dialogue};
use weir_core::health::{ProbeFailure, ProbeResult, Said};

use crate::env::{Batch, Env, Unconnected};

/// Sends what `dialogue` says and judges the answer. Sets `connected` once it can be asked.
pub(super) async fn ask<E: Env>(
    env: &E,
    address: &Address,
    how: &Connect,
    dialogue: &Dialogue,
    connected: &Cell<bool>,
) -> ProbeResult {
    match answer(env, address, how, dialogue, connected).await {
        Ok(Some(heard)) => ProbeResult::Failed(ProbeFailure::Unexpected(heard)),
        Ok(None) => ProbeResult::Passed,
        // Nobody listens there, and its host said so.
        Err(error) => Unconnected::from(&error).probed(),
    }
}

/// What came instead of what was expected.
async fn answer<E: Env>(
    env: &E,
    address: &Address,
    how: &Connect,
    dialogue: &Dialogue,
    connected: &Cell<bool>,
) -> io::Result<Option<Said>> {
    let to = address.ip().ok_or(io::ErrorKind::Unsupported)?;
    let socket = env.connect_datagrams(to, how)?;
    let mut batch = Batch::small()?;
    socket.say(&dialogue.send)?;
    connected.set(true);
    loop {
        socket.ready().await?;
        match batch.receive(&socket, 1) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => {
                received?;
                break;
            }
        }
    }
    let mut datagrams = batch.at(0).each();
    let expected = datagrams.any(|bytes| memmem::find(bytes, &dialogue.receive).is_some());
    Ok((!expected).then(|| Said::new(batch.at(0).bytes)))
}
