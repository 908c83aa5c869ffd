//! One HTML file without external resources, which people can send and open from disk.
//!
//! The findings are in the page as elements, so it can be read and printed without its script, which filters, copies a fix and switches
//! colors. The policy of the page (`Content-Security-Policy`) allows exactly its own style and script, by their hashes, and no network.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Findings, Item, Level, Location};
use crate::support::text::markup::escape;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// SHA-256 of the style and of the script, in base64. A test compares them with the files.
const STYLE_HASH: &str = "w+e7srblFnu7Lc2U07XC0v6sDdxYrboysi5/qF6QsEI=";
const SCRIPT_HASH: &str = "0GE5d5jztZF5BcZSrx+TcI93SH4TWQdzulkaSz+EKbY=";

/// The page.
pub fn render(findings: &Findings) -> String {
    let mut page = String::new();
    head(&mut page);
    page.push_str("<body>\n<header>\n<h1>Can the pods assume their roles?</h1>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "<p class=\"from\">rolegate {} audit, <time datetime=\"{time}\">{time}</time></p>",
        escape(findings.version),
        time = findings.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
    );
    page.push_str("<button type=\"button\" id=\"theme\" hidden>Colors: as the system</button>\n</header>\n<main>\n");
    summary(&mut page, findings);
    filters(&mut page, findings);
    if let Some(failure) = &findings.failure {
        let _ = writeln!(page, "<p class=\"none\">Nothing was checked: {}</p>", escape(failure));
    } else if findings.items.is_empty() {
        page.push_str("<p class=\"none\">Nothing was checked.</p>\n");
    } else {
        page.push_str("<p class=\"none\" id=\"none\" hidden>No finding matches the filter.</p>\n");
    }
    page.push_str("<section id=\"items\" aria-label=\"Findings\">\n");
    for item in &findings.items {
        article(&mut page, findings, item);
    }
    let _ = write!(
        page,
        "</section>\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    );
    page
}

fn head(page: &mut String) {
    let _ = writeln!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; \
         script-src 'sha256-{SCRIPT_HASH}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>rolegate audit</title>\n<style>{STYLE}</style>\n</head>"
    );
}

fn summary(page: &mut String, findings: &Findings) {
    page.push_str("<ul class=\"totals\" aria-label=\"Totals\">\n");
    for (level, label) in [
        (Level::Fail, "not trusted"),
        (Level::Unclear, "undetermined"),
        (Level::Pass, "trusted"),
    ] {
        let _ = writeln!(
            page,
            "<li class=\"{}\"><strong>{}</strong> {label}</li>",
            class(level),
            findings.count(level)
        );
    }
    page.push_str("</ul>\n");
}

fn filters(page: &mut String, findings: &Findings) {
    let namespaces: BTreeSet<&str> = findings.items.iter().map(|item| item.namespace.as_str()).collect();
    page.push_str(
        "<form id=\"filter\" role=\"search\" aria-label=\"Filter\" hidden>\n\
         <label>Text <input type=\"search\" id=\"text\" autocomplete=\"off\" spellcheck=\"false\" \
         placeholder=\"name, role, cause\"></label>\n\
         <label>Verdict <select id=\"verdict\">\n<option value=\"\">all</option>\n\
         <option value=\"fail\">not trusted</option>\n<option value=\"unclear\">undetermined</option>\n\
         <option value=\"pass\">trusted</option>\n</select></label>\n\
         <label>Namespace <select id=\"namespace\">\n<option value=\"\">all</option>\n",
    );
    for namespace in namespaces.iter().filter(|namespace| !namespace.is_empty()) {
        let namespace = escape(namespace);
        let _ = writeln!(page, "<option value=\"{namespace}\">{namespace}</option>");
    }
    page.push_str("</select></label>\n<output id=\"shown\" for=\"text verdict namespace\"></output>\n</form>\n");
}

fn article(page: &mut String, findings: &Findings, item: &Item) {
    let level = class(item.level);
    let _ = writeln!(
        page,
        "<article class=\"{level}\" data-level=\"{level}\" data-namespace=\"{}\">",
        escape(&item.namespace)
    );
    let _ = writeln!(
        page,
        "<h2><span class=\"badge\">{}</span> <span class=\"kind\">{}</span> {}</h2>",
        escape(word(item)),
        escape(&item.kind),
        escape(&item.path())
    );
    match item.level {
        Level::Pass => {
            let _ = writeln!(page, "<p class=\"role\">{}</p>", escape(&item.role));
        }
        Level::Unclear | Level::Fail => {
            let _ = writeln!(page, "<p>{}</p>", escape(&item.summary));
            rows(page, findings, item);
        }
    }
    for lint in &item.lints {
        let _ = writeln!(
            page,
            "<p class=\"note\"><span class=\"badge\">note</span> {} <code>{}</code></p>",
            escape(&lint.message),
            escape(lint.code)
        );
    }
    page.push_str("</article>\n");
}

fn rows(page: &mut String, findings: &Findings, item: &Item) {
    page.push_str("<dl>\n");
    let row = |page: &mut String, label: &str, value: &str| {
        let _ = writeln!(page, "<div><dt>{label}</dt><dd>{value}</dd></div>");
    };
    if item.rows.iter().all(|(label, _)| *label != "role") && !item.role.is_empty() {
        row(page, "role", &escape(&item.role));
    }
    for (label, value) in &item.rows {
        row(page, &escape(label), &escape(value));
    }
    match &item.location {
        Some(Location { file, line: Some(line) }) => row(page, "file", &escape(&format!("{file}:{line}"))),
        Some(Location { file, line: None }) => row(page, "file", &escape(file)),
        None => {}
    }
    if let Some(fix) = &item.fix {
        let fix = format!(
            "<code>{}</code> <button type=\"button\" class=\"copy\" aria-label=\"Copy the fix of {}\" hidden>Copy</button>",
            escape(fix),
            escape(&item.path())
        );
        row(page, "fix", &fix);
    }
    let docs = escape(&findings.docs(item.rule()));
    let docs = match findings.docs_url {
        Some(_) => format!("<a href=\"{docs}\" rel=\"noreferrer\">{docs}</a>"),
        None => format!("<code>{docs}</code>"),
    };
    row(page, "docs", &docs);
    page.push_str("</dl>\n");
}

/// The cause, or the verdict in words.
fn word(item: &Item) -> &'static str {
    match item.rule() {
        "not-trusted" => "not trusted",
        other => other,
    }
}

const fn class(level: Level) -> &'static str {
    match level {
        Level::Pass => "pass",
        Level::Unclear => "unclear",
        Level::Fail => "fail",
    }
}
