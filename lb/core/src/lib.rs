//! Weir's brain: facts in, decisions out.
//!
//! Opens no socket, reads no clock, draws no chance of its own; its manifest proves it. So a whole
//! cluster can be lived through from a seed, and what the live path decides, `explain` and the
//! tests decide with the same functions.
//!
//! Read in this order: [`control`] (events in, effects and snapshots out), [`health`] (one
//! endpoint's verdict), [`availability`] (who may be picked), [`snapshot`] (the truth workers
//! read), [`route`], [`release`] and [`balance`] (what they do with it), [`attempt`], [`retry`] and [`limits`] (what
//! became of it, whether it may be tried again, and how much at once), [`live`] (what workers share).
//! Beside the way, what is done to a request on it: [`trust`], [`access`], [`rate`], [`rewrite`], [`trace`].

pub mod access;
pub mod attempt;
pub mod availability;
pub mod balance;
pub mod breaker;
pub mod carry;
pub mod clients;
pub mod control;
pub mod dice;
pub mod discovery;
pub mod drill;
pub mod endpoint;
pub mod explain;
pub mod grpc;
pub mod hash;
pub mod health;
pub mod limits;
pub mod live;
pub mod load;
pub mod percent;
pub mod rate;
pub mod reason;
pub mod release;
pub mod retry;
pub mod rewrite;
pub mod route;
pub mod snapshot;
pub mod time;
pub mod tls;
pub mod trace;
pub mod trust;
pub mod udp;
