//! The process among others: signals, limits, and who holds the port we want.

pub(crate) mod limits;
pub(crate) mod ports;
pub(crate) mod signals;
