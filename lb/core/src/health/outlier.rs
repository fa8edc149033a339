//! What live traffic says of endpoints: who is an outlier, what is done about it, how it returns.
//!
//! Pure. Workers count and control feeds the counts in ([`window`]); [`charge`] says what stands
//! against one endpoint, [`pool`] who of a cluster goes when several should, [`standing`] how long,
//! and what brings it back. Who is told, and what is published, is [`crate::control`]'s business.

pub mod charge;
pub mod pool;
pub mod standing;
pub mod wilson;
pub mod window;

pub use charge::{Charge, Rule, judge};
pub use pool::{Case, Decision, Guard, Hold, Pool, Spare, What, decide, most_out};
pub use standing::{Standing, StandingMemory, State, Tested};
pub use window::{Counts, Window};
