//! Values that cannot hold nonsense. Each is made by one constructor that says what is wrong.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Longest name, in bytes.
            pub const MAX_LEN: usize = 128;

            /// A name: 1 to 128 of ASCII letters, digits, `-`, `_` and `.`.
            ///
            /// # Errors
            /// [`NameError`] says which rule the text breaks.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check_name(text, Self::MAX_LEN)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name!(
    /// The name of a cluster; with an address it is the identity of an endpoint.
    ClusterName
);
name!(
    /// The name of a listener.
    ListenerName
);
name!(
    /// The optional name of a route, for metrics and `explain`.
    RouteName
);
name!(
    /// The name of a release.
    ReleaseName
);
name!(
    /// An availability zone.
    ZoneName
);

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than the limit.
    #[error("a name has at most {0} bytes")]
    TooLong(usize),
    /// A character outside of the allowed set.
    #[error("a name has letters, digits, '-', '_' and '.' only; found {0:?}")]
    BadCharacter(char),
}

fn check_name(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong(max));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
        Some(bad) => Err(NameError::BadCharacter(bad)),
        None => Ok(()),
    }
}

/// An endpoint's share of its cluster's traffic relative to the others: 0 (none) to 10 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// Largest weight.
    pub const MAX: u16 = 10_000;
    /// The default: one share.
    pub const ONE: Self = Self(1);

    /// A weight, if `value` is at most 10 000.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value <= Self::MAX as u64 { Some(Self(value as u16)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Where an endpoint, or one of our listeners, takes connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// Over TCP.
    Ip(SocketAddr),
    /// A Unix socket of this host, by its absolute path.
    Unix(Arc<Path>),
}

impl Address {
    /// The lowest of all in their order.
    pub const LOWEST: Self = Self::Ip(SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0)));

    /// The IP address and port, if it is one.
    #[must_use]
    pub const fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

/// As it is written: `IP:port` or `unix:PATH`.
impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        crate::grammar::bind_address(text).map_err(|wrong| match wrong.hint {
            Some(hint) => format!("{}; {hint}", wrong.message),
            None => wrong.message,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
