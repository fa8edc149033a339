//! The process among others: signals, limits, its clock, the sockets of this host and whose they are.

pub(crate) mod clock;
pub(crate) mod limits;
pub(crate) mod owners;
pub(crate) mod ports;
pub(crate) mod signals;
pub(crate) mod sockets;
