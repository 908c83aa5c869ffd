//! The HTML report in a browser: headless Chromium opens it in a frame of another page, which uses it and writes down what it saw.

use std::fs;
use std::process::Command;

use rolegate::reports::{Findings, html};
use serde_json::Value;

use super::tools::chromium;
use super::{HOSTILE, hostile, many, sample};

/// The script that runs in the frame's page. It can use `page`, `type(text)`, `choose(list, value)` and `visible()`.
fn in_browser(findings: &Findings, script: &str) -> Option<Value> {
    let chromium = chromium()
        .inspect_err(|missing| missing.skip("the HTML report in a browser"))
        .ok()?;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("report.html"), html::render(findings)).unwrap();
    let driver = format!(
        r#"<!doctype html><meta charset="utf-8"><iframe src="report.html" width="1200" height="900"></iframe><pre id="seen"></pre><script>
        const frame = document.querySelector("iframe");
        frame.addEventListener("load", async () => {{
            const page = frame.contentDocument;
            const input = (element) => element.dispatchEvent(new Event("input", {{ bubbles: true }}));
            const type = (text) => {{ const field = page.getElementById("text"); field.value = text; input(field); }};
            const choose = (list, value) => {{ const field = page.getElementById(list); field.value = value; input(field); }};
            const visible = () => Array.from(page.querySelectorAll("article")).filter((item) => item.offsetParent !== null).length;
            let seen;
            try {{ seen = await (async () => {{ {script} }})(); }} catch (error) {{ seen = {{ error: String(error) }}; }}
            document.getElementById("seen").textContent = encodeURIComponent(JSON.stringify(seen));
            document.body.dataset.done = "yes";
        }});
        </script>"#
    );
    fs::write(folder.path().join("driver.html"), driver).unwrap();
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        // The driver reads the document of its frame, which is another file.
        .args(["--disable-web-security", "--allow-file-access-from-files"])
        .args(["--virtual-time-budget=20000", "--no-first-run", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", folder.path().join("driver.html").display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let seen = dom
        .split("<pre id=\"seen\">")
        .nth(1)
        .and_then(|rest| rest.split("</pre>").next())
        .unwrap_or_else(|| panic!("{dom}\n{}", String::from_utf8_lossy(&output.stderr)));
    let json = percent_encoding::percent_decode_str(seen).decode_utf8().unwrap();
    Some(
        serde_json::from_str(&json)
            .unwrap_or_else(|error| panic!("{error}: {json}\n{dom}\n{}", String::from_utf8_lossy(&output.stderr))),
    )
}

#[test]
fn the_filter_selects_by_text_verdict_and_namespace() {
    let script = r#"
        const seen = [visible()];
        type("WORKER undecided"); seen.push(visible());
        type(""); choose("verdict", "pass"); seen.push(visible());
        choose("namespace", "staging"); seen.push(visible(), page.getElementById("none").hidden);
        choose("verdict", ""); seen.push(visible(), page.getElementById("shown").value);
        return seen;"#;
    let Some(seen) = in_browser(&sample(), script) else {
        return;
    };
    assert_eq!(seen, serde_json::json!([5, 1, 2, 0, false, 2, "2 of 5 shown"]));
}

#[test]
fn two_thousand_findings_can_be_filtered() {
    let script = r#"
        const before = visible();
        type("account-1999"); const one = visible();
        type(""); choose("namespace", "team-7"); const team = visible();
        return [before, one, team];"#;
    let Some(seen) = in_browser(&many(2000), script) else {
        return;
    };
    assert_eq!(seen, serde_json::json!([2000, 1, 50]));
}

#[test]
fn the_button_copies_exactly_the_fix() {
    let script = r#"
        const copied = [];
        Object.defineProperty(frame.contentWindow.navigator, "clipboard", { value: { writeText: async (text) => { copied.push(text); } } });
        const button = page.querySelector(".copy");
        button.click();
        await new Promise((done) => setTimeout(done, 50));
        return [button.hidden, copied, button.textContent, button.getAttribute("aria-label")];"#;
    let Some(seen) = in_browser(&sample(), script) else {
        return;
    };
    let fix = "rolegate trust-policy --role-arn arn:aws:iam::111122223333:role/api -n staging --service-account 'api'";
    assert_eq!(
        seen,
        serde_json::json!([false, [fix], "Copied", "Copy the fix of staging/api"])
    );
}

#[test]
fn hostile_text_is_text() {
    let script = r#"
        const elements = new Set(Array.from(page.querySelectorAll("*"), (element) => element.localName));
        const handlers = Array.from(page.querySelectorAll("*")).filter((element) =>
            Array.from(element.attributes).some((attribute) => attribute.name.startsWith("on"))).length;
        const code = Array.from(page.querySelectorAll("dd > code:first-child"), (element) => element.textContent);
        return { harmed: Boolean(frame.contentWindow.harmed), handlers, elements: [...elements].sort(), code };"#;
    let Some(seen) = in_browser(&hostile(), script) else {
        return;
    };
    assert_eq!(seen["harmed"], false);
    assert_eq!(seen["handlers"], 0);
    for element in seen["elements"].as_array().unwrap() {
        assert!(
            !["img", "iframe", "failure", "svg", "object"].contains(&element.as_str().unwrap()),
            "{element}"
        );
    }
    let code: Vec<&str> = seen["code"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect();
    for text in &HOSTILE[..5] {
        assert!(code.contains(text), "{text}: {code:?}");
    }
}

/// WCAG 2.2 AA: 4.5 to 1 for text.
#[test]
fn text_has_contrast_in_both_color_schemes_and_every_control_has_a_name() {
    let script = r#"
        const channel = (value) => { const c = value / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
        const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
        const numbers = (color) => color.match(/[\d.]+/g).map(Number);
        const window = frame.contentWindow;
        const background = (element) => {
            for (let at = element; at; at = at.parentElement) {
                const color = numbers(window.getComputedStyle(at).backgroundColor);
                if (color.length < 4 || color[3] === 1) return color;
            }
            return [255, 255, 255];
        };
        const worst = () => {
            let least = [99, ""];
            for (const element of page.querySelectorAll("body *")) {
                const own = Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.textContent.trim());
                if (!own || element.offsetParent === null || element.localName === "script") continue;
                const text = luminance(numbers(window.getComputedStyle(element).color));
                const behind = luminance(background(element));
                const ratio = (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
                if (ratio < least[0]) least = [ratio, element.outerHTML.slice(0, 120)];
            }
            return least;
        };
        const theme = page.getElementById("theme");
        theme.click(); const light = worst(), white = luminance(background(page.body));
        theme.click(); const dark = worst(), black = luminance(background(page.body));
        const unnamed = Array.from(page.querySelectorAll("input, select, button, form")).filter((element) =>
            !(element.labels && element.labels.length) && !element.getAttribute("aria-label") && !element.textContent.trim()).length;
        return { light, dark, white, black, unnamed };"#;
    let Some(seen) = in_browser(&sample(), script) else {
        return;
    };
    assert!(seen["light"][0].as_f64().unwrap() >= 4.5, "{seen:#}");
    assert!(seen["dark"][0].as_f64().unwrap() >= 4.5, "{seen:#}");
    assert!(seen["white"].as_f64().unwrap() > 0.5, "{seen:#}");
    assert!(seen["black"].as_f64().unwrap() < 0.05, "{seen:#}");
    assert_eq!(seen["unnamed"], 0, "{seen:#}");
}
