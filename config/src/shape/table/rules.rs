//! The grammars of texts.

use crate::grammar;
use crate::shape::Rule;

const NAME_PATTERN: &str = "^[A-Za-z0-9._-]{1,128}$";
/// `${VAR}` may stand in any text, so a pattern must let it pass.
const NAME_OR_VARIABLE: &str = r"^[A-Za-z0-9._-]{1,128}$|\$\{";
const BIND_PATTERN: &str = r"^unix:/|^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$|\$\{";
const ENDPOINT_PATTERN: &str = r"^(unix:/|file:|srv:)|^(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$|\$\{";
const PORTS_PATTERN: &str = r"^[0-9]{1,5} *- *[0-9]{1,5}$|\$\{";
const PATH_PATTERN: &str = r"^/|\$\{";

pub(crate) static NAME: Rule = Rule::new("a name", grammar::name).pattern(NAME_OR_VARIABLE);
/// Keys hold no variables.
pub(crate) static ZONE: Rule = Rule::new("zone names", grammar::name).pattern(NAME_PATTERN);
pub(crate) static ADMIN_ADDRESS: Rule = Rule::new("an IP address and port, unix:PATH, or `off`", check_admin);
pub(crate) static BIND_ADDRESS: Rule =
    Rule::new("an IP address and port, or unix:PATH", |text| grammar::bind_address(text).map(drop))
        .pattern(BIND_PATTERN);
pub(crate) static ENDPOINT_ADDRESS: Rule =
    Rule::new("an address", |text| grammar::endpoint_address(text).map(drop)).pattern(ENDPOINT_PATTERN);
/// In a file of endpoints, which leads nowhere else.
pub(crate) static FIXED_ADDRESS: Rule =
    Rule::new("an IP address and port, or unix:PATH", |text| grammar::fixed_address(text).map(drop));
pub(crate) static LOCAL_ADDRESS: Rule = Rule::new("an IP address", |text| grammar::local_address(text).map(drop));
pub(crate) static DNS_SERVER: Rule = Rule::new("a DNS server", |text| grammar::dns_server(text).map(drop));
pub(crate) static PORTS: Rule =
    Rule::new("a range of ports such as 20000-29999", |text| grammar::ports(text).map(drop)).pattern(PORTS_PATTERN);
pub(crate) static NETWORK: Rule = Rule::new("a network", |text| grammar::cidr(text).map(drop));
pub(crate) static LOG_PATH: Rule = Rule::new("a file name", grammar::log_path);
pub(crate) static HOST_PATTERN: Rule = Rule::new("a host", |text| grammar::host_pattern(text).map(drop));
pub(crate) static HOST_HEADER: Rule = Rule::new("a host", |text| grammar::host_header(text).map(drop));
pub(crate) static PATH: Rule = Rule::new("a path", |text| grammar::path(text).map(drop)).pattern(PATH_PATTERN);
pub(crate) static PROBE_PATH: Rule =
    Rule::new("a path", |text| grammar::probe_path(text).map(drop)).pattern(PATH_PATTERN);
pub(crate) static METHOD: Rule = Rule::new("a method", |text| grammar::method(text).map(drop));
pub(crate) static HEADER_NAME: Rule = Rule {
    without_case: true,
    ..Rule::new("header names", |text| grammar::header_name(text).map(drop)).pattern("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
};
pub(crate) static HEADER_VALUE: Rule =
    Rule { loose: true, ..Rule::new("a header value", |text| grammar::header_value(text).map(drop)) };
pub(crate) static HEADER: Rule = Rule::new("a header name", |text| grammar::header_name(text).map(drop));
pub(crate) static COOKIE: Rule = Rule::new("a cookie name", |text| grammar::cookie_name(text).map(drop));
pub(crate) static COOKIE_PATH: Rule =
    Rule::new("a path", |text| grammar::cookie_path(text).map(drop)).pattern(PATH_PATTERN);
pub(crate) static QUERY: Rule = Rule::new("a query parameter", |text| grammar::query_name(text).map(drop));
pub(crate) static RETRY_CONDITION: Rule =
    Rule::new("what is tried again", |text| grammar::retry_condition(text).map(drop));
pub(crate) static STATUS_TEXT: Rule =
    Rule::new("statuses such as 200-299 or 2xx", |text| grammar::statuses(text).map(drop));
pub(crate) static COOKIE_NAME: Rule = Rule::new("cookie names", |text| grammar::cookie_name(text).map(drop));
pub(crate) static COOKIE_VALUE: Rule =
    Rule { loose: true, ..Rule::new("a cookie's value", |text| grammar::cookie_value(text).map(drop)) };
pub(crate) static SALT: Rule = Rule::new("a salt", grammar::salt);
pub(crate) static CLAIM: Rule = Rule::new("a claim", grammar::not_empty);
pub(crate) static FILE_NAME: Rule = Rule::new("a file name", |text| grammar::file_name(text).map(drop));
/// A number is no file, but what to write for one user is said with it.
pub(crate) static USERS_FILE: Rule =
    Rule { loose: true, ..Rule::new("`file:` and a file name", |text| grammar::users_file(text).map(drop)) };
pub(crate) static USER_ID: Rule = Rule { loose: true, ..Rule::new("a user's id", grammar::user_id) };
pub(crate) static ALPN_NAME: Rule = Rule::new("a protocol name", grammar::alpn);
pub(crate) static SERVER_NAME: Rule = Rule::new("a host name", |text| grammar::host(text).map(drop));
pub(crate) static HOST: Rule = Rule::new("a host", |text| grammar::host(text).map(drop));
pub(crate) static SNI_PATTERN: Rule = Rule::new("a host name", |text| grammar::sni_pattern(text).map(drop));
/// Fields that a route may change.
pub(crate) static EDITED_NAME: Rule =
    Rule { without_case: true, ..Rule::new("header names", |text| grammar::edited_header(text).map(drop)) };
pub(crate) static EDITED_HEADER: Rule = Rule::new("a header name", |text| grammar::edited_header(text).map(drop));
pub(crate) static HEADER_TEMPLATE: Rule =
    Rule { loose: true, ..Rule::new("a header value", |text| grammar::header_template(text).map(drop)) };
pub(crate) static UPGRADE: Rule = Rule::new("a protocol", |text| grammar::upgrade(text).map(drop));
pub(crate) static BODY: Rule = Rule { loose: true, ..Rule::new("text", grammar::body) };
pub(crate) static CONTENT_TYPE: Rule = Rule::new("a media type", |text| grammar::content_type(text).map(drop));
pub(crate) static GRPC_SERVICE: Rule = Rule::new("a gRPC service", grammar::grpc_service);
pub(crate) static PROBE_TEXT: Rule =
    Rule { loose: true, ..Rule::new("text", |text| grammar::probe_text(text).map(drop)) };
pub(crate) static HEX_BYTES: Rule = Rule::new("bytes in hexadecimal", |text| grammar::hex(text).map(drop));
pub(crate) static EXPECTED_BODY: Rule = Rule::new("text", grammar::not_empty);

fn check_admin(text: &str) -> Result<(), grammar::Wrong> {
    if text == "off" { Ok(()) } else { grammar::bind_address(text).map(drop) }
}
