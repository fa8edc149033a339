//! The process among others: signals, limits, who holds the port we want, and who comes after us.

pub(crate) mod handover;
pub(crate) mod heir;
pub(crate) mod limits;
pub(crate) mod ports;
pub(crate) mod service;
pub(crate) mod signals;
