//! The process among others: signals, limits, its clock, the sockets of this host and whose they are,
//! and who comes after us.

pub(crate) mod clock;
pub(crate) mod handover;
pub(crate) mod heir;
pub(crate) mod limits;
pub(crate) mod owners;
pub(crate) mod ports;
pub(crate) mod service;
pub(crate) mod signals;
pub(crate) mod sockets;
