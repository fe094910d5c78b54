//! The web console: pages and scripts that lie in the binary and ask the JSON api. Owns which files there are, as what they are
//! served and what a browser may do with them: nothing from another host, nothing inline, in no other site's frame.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Admin;

/// Scripts, styles and requests of this server alone.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// One file of the console.
#[derive(Debug)]
struct Asset {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($path:literal = $file:literal as $content_type:ident;)*) => {
        static ASSETS: &[Asset] = &[
            $(Asset { path: $path, content_type: $content_type, text: include_str!(concat!("console/", $file)) }),*
        ];
    };
}

assets! {
    "/" = "index.html" as HTML;
    "/console/style.css" = "style.css" as CSS;
    "/console/icon.svg" = "icon.svg" as SVG;
    "/console/main.js" = "main.js" as SCRIPT;
    "/console/api.js" = "api.js" as SCRIPT;
    "/console/dom.js" = "dom.js" as SCRIPT;
    "/console/format.js" = "format.js" as SCRIPT;
    "/console/metrics.js" = "metrics.js" as SCRIPT;
    "/console/plot.js" = "plot.js" as SCRIPT;
    "/console/overview.js" = "overview.js" as SCRIPT;
    "/console/topics.js" = "topics.js" as SCRIPT;
    "/console/topic.js" = "topic.js" as SCRIPT;
    "/console/messages.js" = "messages.js" as SCRIPT;
    "/console/groups.js" = "groups.js" as SCRIPT;
    "/console/shards.js" = "shards.js" as SCRIPT;
    "/console/configuration.js" = "configuration.js" as SCRIPT;
}

/// All files, each at its path.
pub(super) fn pages() -> Router<Arc<Admin>> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        let tag = tag(asset);
        router.route(asset.path, get(async move |headers: HeaderMap| serve(asset, &tag, &headers)))
    })
}

/// A browser asks each time whether a file has changed, so that after an upgrade no old script meets a new page.
fn serve(asset: &Asset, tag: &str, asked: &HeaderMap) -> Response {
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    if asked.get(header::IF_NONE_MATCH).is_some_and(|has| has == tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, asset.text).into_response()
}

/// Another content has another tag.
fn tag(asset: &Asset) -> String {
    let mut hasher = DefaultHasher::new();
    asset.text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_directory_is_served_and_names_no_other_host() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/console");
        let there: BTreeSet<String> = std::fs::read_dir(directory)
            .expect("the files of the console")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        let served: BTreeSet<String> = ASSETS
            .iter()
            .map(|asset| if asset.path == "/" { "index.html" } else { asset.path.trim_start_matches("/console/") })
            .map(str::to_owned)
            .collect();
        assert_eq!(there, served);
        for asset in ASSETS {
            // The name of SVG's namespace is no address that anybody asks.
            let text = asset.text.replace("http://www.w3.org/2000/svg", "");
            for word in [
                "http://",
                "https://",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "eval(",
                "style=",
                "document.write",
            ] {
                assert!(!text.contains(word), "{} has {word}", asset.path);
            }
        }
    }
}
