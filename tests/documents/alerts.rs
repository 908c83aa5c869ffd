//! The runbooks: each alert of the chart has a section for its `runbook_url`, and each section is about an alert.

use std::collections::BTreeSet;

use super::{anchors, read};

/// The names of the alerts in the template of the PrometheusRule. Helm is not required to read them.
fn alerts() -> BTreeSet<String> {
    let template = read("charts/rolegate/templates/metrics/prometheusrule.yaml");
    let names = template.split_whitespace().filter(|word| {
        let name = word.trim_matches('"');
        name.starts_with("Rolegate") && name.chars().all(char::is_alphabetic)
    });
    let alerts: BTreeSet<String> = names.map(|word| word.trim_matches('"').to_owned()).collect();
    assert!(alerts.len() >= 12, "{alerts:?}");
    alerts
}

fn sections(page: &str) -> Vec<&str> {
    page.lines().filter_map(|line| line.strip_prefix("## ")).collect()
}

#[test]
fn each_alert_has_a_section_with_its_name_as_the_anchor() {
    let page = read("docs/runbooks.md");
    let anchors = anchors(&page);
    for alert in alerts() {
        assert!(
            sections(&page).contains(&alert.as_str()),
            "docs/runbooks.md has no section {alert}"
        );
        assert!(anchors.contains(&alert.to_lowercase()), "{alert}: {anchors:?}");
    }
}

#[test]
fn each_section_is_about_an_alert_and_says_what_it_means_and_what_to_do() {
    let page = read("docs/runbooks.md");
    let alerts = alerts();
    for (name, text) in page
        .split("\n## ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
    {
        assert!(alerts.contains(name), "the chart has no alert {name}");
        for part in ["**Meaning.**", "**Check"] {
            assert!(text.contains(part), "{name} lacks {part}");
        }
        assert!(text.to_lowercase().contains("fix.**"), "{name} lacks what to do");
    }
}
