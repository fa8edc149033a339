<<<<<<< HEAD
//! The process among others: signals, limits, its clock, the sockets of this host and whose they are.

pub(crate) mod clock;
=======
//! The process among others: signals, limits, who holds the port we want, and who comes after us.

pub(crate) mod handover;
pub(crate) mod heir;
>>>>>>> main
pub(crate) mod limits;
pub(crate) mod owners;
pub(crate) mod ports;
pub(crate) mod service;
pub(crate) mod signals;
pub(crate) mod sockets;
