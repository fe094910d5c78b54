//! Who may ask, while the admin server asks nobody who they are: whoever reaches its port, but no page of another site in such a
//! person's browser. Owns that check; which of its parts apply where stands in `routes.rs`.
//!
//! - Everywhere: `Origin`, where it is sent, is this server, and no browser says that it asks for another site.
//! - What says or changes something of data: `Host` is an address, `localhost` or the name that the setting `admin` has. A page of
//!   another site that has its own name point here (DNS rebinding) sends its own name. Metrics and probes are asked for under
//!   whatever name the broker has.
//! - A change has a header that no form can send and a content type that none has, so that a browser asks first whether another
//!   site's page may send it, which it may not (nothing here answers such a question).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Admin;
use super::answer::Refusal;

/// What a change is sent with, beside its content type.
const CONSOLE: HeaderName = HeaderName::from_static("x-ouzel-console");

/// What a browser calls the relation between the page that asks and whom it asks; others do not send it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Says so where others than this machine's users reach the admin server.
pub(super) fn warn_of_others(listens: SocketAddr) {
    if is_reached_by_others(listens) {
        tracing::warn!(
            admin = %listens,
            "the admin port is not on the loopback interface and asks nobody who they are: whoever reaches it can read every \
             record and delete every topic; set `admin` to 127.0.0.1 and use a tunnel, `ssh -L {port}:127.0.0.1:{port} HOST`, or \
             see to it that only those who run the broker reach it",
            port = listens.port(),
        );
    }
}

fn is_reached_by_others(listens: SocketAddr) -> bool {
    !listens.ip().to_canonical().is_loopback()
}

/// Lets through what does not come from a page of another site, as far as its browser says so.
pub(super) async fn no_other_site(request: Request, next: Next) -> Result<Response, Refusal> {
    check_site(request.headers())?;
    Ok(next.run(request).await)
}

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

fn check_site(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = text(headers, &header::HOST).unwrap_or_default();
    let origin = headers.get(header::ORIGIN).map(|_| text(headers, &header::ORIGIN).unwrap_or_default());
    let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(host));
    if let Some(origin) = origin.filter(|origin| !is_own(origin)) {
        return Err(forbidden(format!("a page of {origin} is not answered here"), "it is not this broker's own"));
    }
    if text(headers, &FETCH_SITE) == Some("cross-site") {
        let why = "it is not this broker's own; open the address itself, and not a link to it";
        return Err(forbidden("a page of another site is not answered here", why));
    }
    Ok(())
}

fn check(method: &Method, headers: &HeaderMap, configured: Option<&str>) -> Result<(), Refusal> {
    let host = text(headers, &header::HOST).unwrap_or_default();
    let is_configured = configured.is_some_and(|configured| name(configured).eq_ignore_ascii_case(name(host)));
    if !(is_address(name(host)) || name(host).eq_ignore_ascii_case("localhost") || is_configured) {
        let why = "use an IP address, localhost, or the name that the setting `admin` has: another site's name may \
                   have been pointed at this broker";
        return Err(forbidden(format!("only metrics and the console's files are shown under the name {host}"), why));
    }
    check_site(headers)?;
    if method.is_safe() {
        return Ok(());
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
    fn pages_of_other_sites_are_refused_under_whatever_name() {
        let asked = |headers: &[(&'static str, &str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a legal header")));
            check_site(&headers.collect()).is_ok()
        };
        let named = ("host", "ouzel.internal:9191");
        for page in [
            None,
            Some(("origin", "http://ouzel.internal:9191")),
            Some(("sec-fetch-site", "none")),
            Some(("sec-fetch-site", "same-origin")),
        ] {
            assert!(asked(&[Some(named), page].into_iter().flatten().collect::<Vec<_>>()), "{page:?}");
        }
        for page in [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
            assert!(!asked(&[named, page]), "{page:?}");
        }
        assert!(!asked(&[named, ("origin", "http://evil.example"), ("origin", "http://ouzel.internal:9191")]));
        assert!(asked(&[]), "a probe need not say whom it asks");
    }

    #[test]
    fn others_reach_every_address_but_those_of_loopback() {
        for (address, expected) in [
            ("127.0.0.1:9191", false),
            ("127.8.8.8:1", false),
            ("[::1]:9191", false),
            ("[::ffff:127.0.0.1]:9191", false),
            ("0.0.0.0:9191", true),
            ("[::]:9191", true),
            ("10.1.2.3:9191", true),
        ] {
            assert_eq!(is_reached_by_others(address.parse().expect("an address")), expected, "{address}");
        }
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
