use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{Balance, ClusterName, Panic, Weight, ZoneAware};

use super::*;
use crate::endpoint::{EndpointId, EndpointKey};
use crate::limits::Queue;
use crate::live::{EndpointLive, Trial};
use crate::load::Shards;
