//! Who an endpoint is, and the one word its health comes to.

use std::fmt;

use weir_config::model::{Address, ClusterName};

/// Identity: cluster and address, and nothing but identity. Weight and zone may change; who it
/// is does not, so its health, load and connections carry over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey {
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// Where it listens.
    pub address: Address,
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.address)
    }
}

/// A small number for an [`EndpointKey`], given once by control and never given again: workers key
/// their pools by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

/// A small number for a cluster's name, given once by control and never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u32);

/// What everything known of an endpoint comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Not yet judged: used only while no endpoint of its cluster is known to be healthy.
    Unknown,
    /// In service.
    Healthy,
    /// Out: its checks fail.
    Unhealthy,
    /// Out for a time: its traffic failed.
    Ejected,
    /// Back from ejection on trial: one request at a time decides.
    Probation,
    /// Given no new work, at an operator's wish, or because discovery no longer tells it.
    Draining,
}

impl Status {
    /// Every status, for metrics that export one series a state.
    pub const ALL: [Self; 6] =
        [Self::Unknown, Self::Healthy, Self::Unhealthy, Self::Ejected, Self::Probation, Self::Draining];

    /// The word in logs, metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
            Self::Probation => "probation",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
