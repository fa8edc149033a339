//! What a cluster's policies cannot do together: keys without effect, rules that can never fire.

use super::Fields;
use crate::model::{Cluster, ZoneName};
use crate::report::{Path, Report};

pub(super) fn warn(_: &Cluster, _: &Fields<'_>, _: Option<&ZoneName>, _: &Path<'_>, _: &mut Report) {}
