//! Pipes between two sockets: what `splice(2)` moves bytes through without copying them.
//!
//! A pipe is only held while bytes are in it, so a worker needs as many as it has receivers that
//! do not take what has come for them, and one more.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

use super::super::budget::{Budget, Place};

/// What is asked of the kernel: enough that a full socket buffer goes in one call.
const SIZE: usize = 256 * 1024;
/// A pipe of less than this moves bytes no better than a copy does. The kernel gives so small ones
/// to users who have many already.
const SIZE_MIN: usize = 64 * 1024;
/// Empty pipes kept for the next session.
const KEPT: usize = 32;
/// The most the kernel lets a pipe hold.
const MAX_SIZE: &str = "/proc/sys/fs/pipe-max-size";

/// A worker's pipes.
#[derive(Debug)]
pub(crate) struct Pipes {
    budget: Budget,
    free: RefCell<Vec<Pipe>>,
    /// What a pipe is made to hold, once it is known.
    size: Cell<Option<usize>>,
}

/// A pipe, and how much is in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    pub(crate) size: usize,
    pub(crate) held: usize,
    _places: [Place; 2],
}

impl Pipe {
    /// Where bytes come out.
    pub(crate) fn outlet(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// Where they go in.
    pub(crate) fn inlet(&self) -> BorrowedFd<'_> {
        self.write.as_fd()
    }
}

impl Pipes {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, free: RefCell::default(), size: Cell::new(None) }
    }

    /// An empty pipe; none if there is none to be had, and then copying serves as well.
    pub(crate) fn take(&self) -> Option<Pipe> {
        self.free.borrow_mut().pop().or_else(|| self.make())
    }

    /// Takes back a pipe; one with bytes in it is closed.
    pub(crate) fn give(&self, pipe: Pipe) {
        let mut free = self.free.borrow_mut();
        if pipe.held == 0 && free.len() < KEPT {
            free.push(pipe);
        }
    }

    fn make(&self) -> Option<Pipe> {
        let places = [self.budget.for_pipe()?, self.budget.for_pipe()?];
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        let wanted = self.size.get().unwrap_or_else(|| {
            let most = fs::read_to_string(MAX_SIZE).ok().and_then(|text| text.trim().parse().ok());
            let size = SIZE.min(most.unwrap_or(SIZE));
            self.size.set(Some(size));
            size
        });
        // Where it may not be as large as that it stays as large as it is.
        let _ = fcntl_setpipe_size(&write, wanted);
        let size = fcntl_getpipe_size(&write).ok().filter(|size| *size >= SIZE_MIN)?;
        Some(Pipe { read, write, size, held: 0, _places: places })
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.free.borrow().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_kept_and_take_no_more_than_their_share() {
        let budget = Budget::new(40, 1);
        let pipes = Pipes::new(budget.clone());
        let all: Vec<_> = std::iter::from_fn(|| pipes.take()).collect();
        assert_eq!(all.len(), 7, "two descriptors each, of half of 30");
        assert!(budget.for_client().is_some() && budget.for_endpoint().is_some());
        let all_made = all.len();
        all.into_iter().for_each(|pipe| pipes.give(pipe));
        assert_eq!(pipes.free(), all_made);
        let mut full = pipes.take().unwrap();
        full.held = 1;
        pipes.give(full);
        assert_eq!(pipes.free(), all_made - 1, "what is in it is nobody else's");
    }
}
