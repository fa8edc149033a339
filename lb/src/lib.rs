//! Weir, a high-availability, health-checking load balancer: the part that does things.
//!
//! Decisions are made elsewhere: `weir-config` says what is wanted, `weir-core` what shall be done.
//! Here are the sockets, the clock, the files and the terminal.
//!
//! Read in this order: [`mod@env`] (the three doors to the world), [`control`] (the loop that steps
//! the core: configuration source and probes), [`transport`] (what carries bytes, and how it is
//! opened), [`proxy`] (who they come from), [`worker`] and [`http1`] (the data path, one thread
//! each), [`server`] (wires them), [`observe`] (journal, metrics, logs), [`admin`] (HTTP API over
//! all that), [`doctor`] (what is wrong on this host), [`cli`] (what a person types).

pub mod admin;
pub mod cli;
pub mod control;
pub mod demo;
pub mod doctor;
pub mod env;
mod http1;
mod http2;
pub mod observe;
mod process;
pub mod profile;
mod proxy;
pub mod server;
mod tls;
mod transport;
mod worker;
