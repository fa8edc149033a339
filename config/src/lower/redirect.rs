//! Redirects that lead back to the route they come from.

use super::Fields;
use super::listener::scalar;
use crate::grammar;
use crate::mistake::Mistake;
use crate::model::{HostPattern, PathMatch, PathRewrite, Redirect, Reply, Route, RouteMatch, Target};
use crate::report::{Path, Report};
use crate::yaml::Span;

/// What of a listener decides on where a redirect leads.
pub(super) struct Here {
    /// `https` with TLS, else `http`; `None` if a proxy before us may have opened TLS.
    scheme: Option<&'static str>,
    ports: Vec<u16>,
}

impl Here {
    pub(super) fn of(listener: &Fields<'_>) -> Self {
        let addresses = listener.items("bind").iter().filter_map(scalar).filter_map(|text| grammar::address(text).ok());
        let scheme = match listener.get("tls") {
            Some(_) => Some("https"),
            None => listener.items("trusted_proxies").is_empty().then_some("http"),
        };
        Self { scheme, ports: addresses.map(|address| address.port()).collect() }
    }
}

/// Reports routes whose redirect leads to themselves, for ever. Each comes with its place in the list
/// and the file. What earlier routes may take is let be: what is reported is always true.
pub(super) fn check(routes: &[(usize, Span, Route)], here: &Here, path: &Path<'_>, report: &mut Report) {
    for (nth, (at, span, route)) in routes.iter().enumerate() {
        if let Target::Reply(Reply::Redirect(redirect)) = &route.target
            && comes_back(redirect, &route.matches, here)
            && !routes[..nth].iter().any(|(_, _, earlier)| may_take(&earlier.matches, redirect))
        {
            let message = "this redirect leads back to this route, so no client ever arrives";
            let mistake = Mistake::error("redirect_loop", *span, message)
                .hint("send it elsewhere, or put a route before it that takes where it leads to");
            report.push(mistake, &path.item(*at).key("redirect"));
        }
    }
}

/// Whether what the route takes is sent to where the route takes it again.
fn comes_back(redirect: &Redirect, matches: &RouteMatch, here: &Here) -> bool {
    let scheme = redirect.scheme.as_deref().is_none_or(|scheme| here.scheme == Some(scheme));
    let port = redirect.port.is_none_or(|port| here.ports.contains(&port));
    let host = redirect
        .host
        .as_ref()
        // A name that the route does not say it takes may lead to somebody else.
        .is_none_or(|host| matches.hosts.iter().any(|it| takes(it, host)));
    let path = match &redirect.path {
        PathRewrite::Keep => true,
        PathRewrite::Whole(path) => on_path(&matches.path, without_query(path)),
        // What follows the prefix comes with it, and cannot lead out from under the route.
        PathRewrite::Prefix(prefix) => !matches!(matches.path, PathMatch::Exact(_)) && on_path(&matches.path, prefix),
    };
    // After 303 a client asks with GET.
    let method =
        redirect.status != Some(303) || matches.methods.is_empty() || matches.methods.iter().any(|it| it == "GET");
    scheme && port && host && path && method
}

/// Whether a route before may take something of where the redirect leads to.
fn may_take(earlier: &RouteMatch, redirect: &Redirect) -> bool {
    let (any_host, any_method) = (earlier.hosts.is_empty(), earlier.methods.is_empty());
    let same_host = redirect.host.is_none() || any_host;
    let same_path = redirect.path == PathRewrite::Keep || earlier.path == PathMatch::Any;
    let same_method = redirect.status != Some(303) || any_method;
    if same_host && same_path && same_method {
        // What is all the same to it, it would have taken before.
        return false;
    }
    let host = redirect.host.as_ref().is_none_or(|host| any_host || earlier.hosts.iter().any(|it| takes(it, host)));
    let path = match &redirect.path {
        PathRewrite::Keep => true,
        PathRewrite::Whole(path) => on_path(&earlier.path, without_query(path)),
        PathRewrite::Prefix(prefix) => meets(&earlier.path, prefix),
    };
    host && path
}

/// Whether some path under `prefix` is taken.
fn meets(matched: &PathMatch, prefix: &str) -> bool {
    let under = PathMatch::Prefix(prefix.trim_end_matches('/').to_owned());
    match matched {
        PathMatch::Any => true,
        PathMatch::Exact(path) => on_path(&under, path),
        PathMatch::Prefix(path) => on_path(&under, path) || on_path(matched, prefix),
    }
}

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

fn takes(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(name) => name == host,
        HostPattern::Wildcard(suffix) => host.ends_with(&**suffix) && host.len() > suffix.len(),
    }
}

fn on_path(matched: &PathMatch, path: &str) -> bool {
    match matched {
        PathMatch::Any => true,
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) => {
            path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }
}

#[cfg(test)]
mod tests {
    /// Whether routes of a listener without TLS are refused for a redirect that comes back.
    fn loops(routes: &str) -> bool {
        let text = format!(
            "listeners: [{{name: web, bind: '0.0.0.0:8080', routes: {routes}}}]\n\
             clusters: [{{name: shop, endpoints: ['10.0.1.11:80']}}]\n"
        );
        match crate::parse_str(&text) {
            Ok(_) => false,
            Err(mistakes) => {
                assert!(mistakes.iter().all(|it| it.code == "redirect_loop"), "{mistakes}");
                true
            }
        }
    }

    #[test]
    fn what_comes_back_is_refused_and_nothing_else() {
        let table = [
            ("[{redirect: {}}]", true),
            ("[{redirect: {scheme: http}}]", true),
            ("[{redirect: https}]", false),
            ("[{redirect: {scheme: http, port: 8080}}]", true),
            ("[{redirect: {port: 9090}}]", false),
            ("[{redirect: {host: www.example}}]", false),
            ("[{match: {host: www.example}, cluster: shop}, {redirect: {host: www.example}}]", false),
            ("[{match: {host: '*.example'}, redirect: {host: a.b.example}}]", true),
            ("[{match: {host: a.example}, redirect: {host: b.example}}]", false),
            ("[{match: {path: /a}, redirect: {path: /a}}]", true),
            ("[{match: {path: /a}, redirect: {path: '/a?again=1'}}]", true),
            ("[{match: {path: /a}, redirect: {path: /b}}]", false),
            ("[{redirect: {path: /b}}]", true),
            ("[{match: {path: /b}, cluster: shop}, {redirect: {path: /b}}]", false),
            ("[{match: {path_prefix: /b/c}, cluster: shop}, {redirect: {path: /b}}]", true),
            ("[{match: {path_prefix: /a}, redirect: {path_prefix: /a/b}}]", true),
            ("[{match: {path_prefix: /a}, redirect: {path_prefix: /ab}}]", false),
            (
                "[{match: {path_prefix: /a/b}, cluster: shop}, {match: {path_prefix: /a}, redirect: {path_prefix: /a/b}}]",
                false,
            ),
            ("[{match: {path_prefix: /a}, redirect: {path_prefix: /}}]", false),
            ("[{match: {method: POST}, redirect: {status: 303}}]", false),
            ("[{match: {method: [GET, POST]}, redirect: {status: 303}}]", true),
            ("[{match: {method: GET}, cluster: shop}, {redirect: {status: 303}}]", false),
            ("[{match: {method: POST}, redirect: {status: 307}}]", true),
        ];
        for (routes, expected) in table {
            assert_eq!(loops(routes), expected, "{routes}");
        }
    }
}
