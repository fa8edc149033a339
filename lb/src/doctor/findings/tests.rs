//! Each fault has its finding, and a healthy host has none.
