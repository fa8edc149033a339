use std::net::SocketAddr;
use std::sync::Arc;

use weir_config::model::{ClusterName, Weight};

use super::*;
