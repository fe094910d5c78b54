//! Who may ask for what is private, and change anything, while the admin server asks nobody who they are: whoever reaches its
//! port, but no page of another site in such a person's browser. Owns that check; where it applies stands in `routes.rs`.
//!
//! - `Host` is an address, `localhost` or the name that the setting `admin` has. A page of another site that has its own name
//!   point here (DNS rebinding) sends its own name.
//! - A change has a header that no form can send and a content type that none has, so that a browser asks first whether another
//!   site's page may send it, which it may not (nothing here answers such a question). `Origin`, where it is sent, is this server.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Admin;
use super::answer::Refusal;

/// What a change is sent with, beside its content type.
const CONSOLE: HeaderName = HeaderName::from_static("x-ouzel-console");

/// Lets through what comes from this server's own pages, or from no page at all.
pub(super) async fn own_pages(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let configured = admin.settings.iter().find(|setting| setting.key == "admin").map(|setting| setting.value.as_str());
    check(request.method(), request.headers(), configured)?;
    Ok(next.run(request).await)
}

fn check(method: &Method, headers: &HeaderMap, configured: Option<&str>) -> Result<(), Refusal> {
    let host = text(headers, &header::HOST).unwrap_or_default();
    let is_configured = configured.is_some_and(|configured| name(configured).eq_ignore_ascii_case(name(host)));
    if !(is_address(name(host)) || name(host).eq_ignore_ascii_case("localhost") || is_configured) {
        let why = "use an IP address, localhost, or the name that the setting `admin` has: another site's name may \
                   have been pointed at this broker";
        return Err(forbidden(format!("nothing is shown or changed under the name {host}"), why));
    }
    if method.is_safe() {
        return Ok(());
    }
    if let Some(origin) = text(headers, &header::ORIGIN) {
        let is_own = origin.split_once("://").is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(host));
        if !is_own {
            return Err(forbidden(
                format!("a page of {origin} may change nothing here"),
                "it is not this broker's own",
            ));
        }
    }
    let is_json = text(headers, &header::CONTENT_TYPE)
        .is_some_and(|content| content.split(';').next().unwrap_or_default().trim() == "application/json");
    if text(headers, &CONSOLE) != Some("1") || !is_json {
        let why = "send `X-Ouzel-Console: 1` and `Content-Type: application/json`, which pages of other sites cannot";
        return Err(forbidden("a change needs two headers", why));
    }
    Ok(())
}

fn forbidden(what: impl Into<String>, why: impl Into<String>) -> Refusal {
    Refusal::of(StatusCode::FORBIDDEN, what, why)
}

/// A header that is there once, as text.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// A host without its port.
fn name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

fn is_address(name: &str) -> bool {
    let in_brackets = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match in_brackets {
        Some(name) => name.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, headers: &[(&'static str, &str)]) -> bool {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a legal header")));
        check(method, &headers.collect(), Some("broker-1.internal:9191")).is_ok()
    }

    #[test]
    fn names_of_other_sites_are_refused() {
        for host in
            ["127.0.0.1:9191", "10.1.2.3", "localhost:9191", "LOCALHOST", "[::1]:9191", "[::1]", "Broker-1.internal:80"]
        {
            assert!(asked(&Method::GET, &[("host", host)]), "{host}");
        }
        for host in
            ["evil.example:9191", "127.0.0.1.evil.example", "localhost.evil.example", "", ":9191", "::1", "[::1", "1"]
        {
            assert!(!asked(&Method::GET, &[("host", host)]), "{host}");
        }
        assert!(!asked(&Method::GET, &[]));
    }

    #[test]
    fn a_change_needs_what_no_page_of_another_site_can_send() {
        let good = [("host", "127.0.0.1:9191"), ("x-ouzel-console", "1"), ("content-type", "application/json")];
        assert!(asked(&Method::POST, &good));
        for method in [Method::POST, Method::DELETE, Method::PUT] {
            for left_out in 0..good.len() {
                let headers: Vec<_> =
                    (0..).zip(good).filter(|(i, _)| *i != left_out).map(|(_, header)| header).collect();
                assert!(!asked(&method, &headers), "{method} without {}", good[left_out].0);
            }
            let with_origin = |origin| asked(&method, &[good[0], good[1], good[2], ("origin", origin)]);
            assert!(with_origin("http://127.0.0.1:9191"));
            for origin in ["http://127.0.0.1:80", "http://evil.example", "null", "127.0.0.1:9191", "https://"] {
                assert!(!with_origin(origin), "{method} from {origin}");
            }
        }
        let plain = [good[0], good[1], ("content-type", "text/plain")];
        assert!(!asked(&Method::POST, &plain));
    }
}
