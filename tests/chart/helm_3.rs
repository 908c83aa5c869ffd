//! Helm 3 renders and refuses what Helm 4 does.

use serde_json::Value;

use crate::refused::refuses_wrong_values;
use crate::{Chart, Rendered, chart, documented, support};

/// Both versions. `None` if one is not available; standard error then reports what is not run.
fn both() -> Option<(Chart, Chart)> {
    let newer = chart()?;
    match support::tools::helm_3() {
        Ok(helm) => Some((newer, Chart { helm })),
        Err(missing) => {
            missing.skip("the tests of the chart with Helm 3");
            None
        }
    }
}

/// The order of objects of different kinds is Helm's own.
fn by_name(rendered: Rendered) -> Vec<Value> {
    let mut objects = rendered.objects;
    let key = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    objects.sort_by_key(key);
    objects
}

#[test]
fn helm_3_renders_the_same() {
    let Some((newer, older)) = both() else { return };
    let version = older.run(&["version", "--short"]).unwrap();
    assert!(version.starts_with("v3."), "{version}");
    for (name, values) in documented() {
        let (expected, rendered) = (by_name(newer.render(&values)), by_name(older.render(&values)));
        assert!(!rendered.is_empty(), "{name}");
        assert_eq!(rendered, expected, "{name}");
    }
}

#[test]
fn helm_3_refuses_the_same_values() {
    if let Some((_, older)) = both() {
        refuses_wrong_values(&older);
    }
}
