//! The little languages inside of scalars: durations, sizes, addresses, host patterns, headers.
//!
//! Each is one function from text to a value or to what is [`Wrong`]. Where the text stands is
//! not known here.

mod actions;
mod dialogue;
mod endpoint;
mod http;
mod net;
mod quantity;
mod release;
mod retry;
mod tracing;

pub(crate) use actions::{alpn, body, content_type, edited_header, header_template, host, sni_pattern, upgrade};
pub(crate) use dialogue::{grpc_service, hex, probe_text};
pub(crate) use endpoint::{Place, bind_address, endpoint_address, fixed_address};
pub(crate) use http::{
    cookie_name, cookie_path, cookie_value, header_name, header_value, host_header, host_pattern, method, path,
    probe_path, query_name, status_range, statuses,
};
pub(crate) use net::{address, cidr, dns_server, local_address, ports};
pub(crate) use quantity::{MAX_DURATION, duration, size, ttl};
pub(crate) use release::{MAX_ID, file_name, salt, user_id, users_file};
pub(crate) use retry::{RetryCondition, grpc_word, retry_condition};
pub(crate) use tracing::{otlp_endpoint, service_name};

use crate::units::{ClusterName, NameError};

/// Why a text is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Wrong {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<NameError> for Wrong {
    fn from(error: NameError) -> Self {
        Self::new("bad_name", error.to_string())
    }
}

/// A name, of whatever kind: all have the same rule.
pub(crate) fn name(text: &str) -> Result<(), Wrong> {
    ClusterName::new(text)?;
    Ok(())
}

/// Where the access log goes.
pub(crate) fn log_path(text: &str) -> Result<(), Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("bad_path", "a file name cannot be empty").hint("`-` is standard output"));
    }
    if text.contains('\0') {
        return Err(Wrong::new("bad_path", "a file name cannot hold a NUL"));
    }
    Ok(())
}

/// Any text that is there.
pub(crate) fn not_empty(text: &str) -> Result<(), Wrong> {
    if text.is_empty() { Err(Wrong::new("empty_text", "this cannot be empty")) } else { Ok(()) }
}
