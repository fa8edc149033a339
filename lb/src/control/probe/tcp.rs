//! The TCP probe: a connection that opens is an answer; or what is said on it, if that is asked for.

use std::cell::Cell;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_config::model::Dialogue;
use weir_core::health::{ProbeFailure, ProbeResult, Said};

use crate::env::Stream;

/// As much of what comes as is searched.
const HEARD_MAX: usize = 64 << 10;
/// Least room for each read.
const READ: usize = 4 << 10;

/// Says what `dialogue` says on a connection that is open, and judges what comes. The beginning of
/// that is left in `heard`, should time run out.
pub(super) async fn ask<S: Stream>(stream: &mut S, dialogue: &Dialogue, heard: &Cell<Option<Said>>) -> ProbeResult {
    let written = stream.write_all(&dialogue.send).await;
    let flushed = if dialogue.send.is_empty() { Ok(()) } else { stream.flush().await };
    if dialogue.receive.is_empty() {
        return match written.and(flushed) {
            Ok(()) => ProbeResult::Passed,
            Err(_) => ProbeResult::Failed(ProbeFailure::Reset),
        };
    }
    // Some speak first, and some hang up on what they were told: what they said still counts.
    let finder = memmem::Finder::new(&dialogue.receive);
    let mut bytes = Vec::new();
    while bytes.len() < HEARD_MAX {
        // What is new, and as much before it as a match could begin in.
        let from = bytes.len().saturating_sub(dialogue.receive.len() - 1);
        bytes.reserve(READ);
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        if finder.find(&bytes[from..]).is_some() {
            return ProbeResult::Passed;
        }
        heard.set(Some(Said::new(&bytes)));
    }
    ProbeResult::Failed(match heard.get() {
        Some(heard) => ProbeFailure::Unexpected(heard),
        None => ProbeFailure::Reset,
    })
}
