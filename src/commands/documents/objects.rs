//! The Kubernetes objects of a document: the document itself, or the items of a list.

use serde_json::Value;

use super::Document;

/// An object, or a mapping that has neither `apiVersion` nor `kind`.
#[derive(Debug)]
pub(in crate::commands) struct Object<'a> {
    pub(in crate::commands) value: &'a Value,
    /// Its own, or else what its list says of its items: the API server leaves both out in the items of a `ServiceAccountList`.
    pub(in crate::commands) api_version: Option<&'a str>,
    /// The same.
    pub(in crate::commands) kind: Option<&'a str>,
    /// The fields that lead to it from the document. Empty for the document itself.
    pub(in crate::commands) path: Vec<String>,
}

impl Document<'_> {
    /// Its objects in their order, without the lists that they are in. None for a document that is not a mapping.
    pub(in crate::commands) fn objects(&self) -> Vec<Object<'_>> {
        let mut found = Vec::new();
        if let Some(object) = self.object() {
            add(object, None, &[], &mut found);
        }
        found
    }
}

/// What a list says of its items.
#[derive(Clone, Copy)]
struct ItemType<'a> {
    api_version: Option<&'a str>,
    kind: &'a str,
}

/// Lists can be in lists, as deep as the parser permits.
fn add<'a>(value: &'a Value, list: Option<ItemType<'a>>, path: &[String], found: &mut Vec<Object<'a>>) {
    let api_version = text(value, "apiVersion").or_else(|| list?.api_version);
    let kind = text(value, "kind").or_else(|| Some(list?.kind));
    let items = value.get("items").and_then(Value::as_array);
    let (Some(of), Some(items)) = (kind.and_then(|kind| kind.strip_suffix("List")), items) else {
        found.push(Object {
            value,
            api_version,
            kind,
            path: path.to_vec(),
        });
        return;
    };
    // The items of a `List` are of any type.
    let list = (!of.is_empty()).then_some(ItemType { api_version, kind: of });
    for (index, item) in items.iter().enumerate() {
        let below = [path, &["items".to_owned(), index.to_string()]].concat();
        add(item, list, &below, found);
    }
}

impl<'a> Object<'a> {
    /// Its group, which is empty for the core group, and its version. `v1` without an `apiVersion`.
    pub(in crate::commands) fn group_version(&self) -> (&'a str, &'a str) {
        let api_version = self.api_version.unwrap_or("v1");
        api_version.split_once('/').unwrap_or(("", api_version))
    }

    /// The name, or else what the API server makes it of. Empty without both.
    pub(in crate::commands) fn name(&self) -> &'a str {
        let name = self.metadata("name").or_else(|| self.metadata("generateName"));
        name.unwrap_or_default()
    }

    /// The namespace that is written in it.
    pub(in crate::commands) fn namespace(&self) -> Option<&'a str> {
        self.metadata("namespace")
    }

    /// Where it is in the document.
    pub(in crate::commands) fn pointer(&self) -> String {
        // No field of the path needs an escape.
        self.path.iter().map(|field| format!("/{field}")).collect()
    }

    fn metadata(&self, field: &str) -> Option<&'a str> {
        text(self.value.get("metadata")?, field)
    }
}

/// A string that is not empty.
fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object.get(field)?.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::read;

    /// `apiVersion`, kind, name and pointer of each object.
    fn objects(text: &str) -> Vec<[String; 4]> {
        let documents = read(text).unwrap();
        let objects = documents.iter().flat_map(|document| document.objects());
        let texts = objects.map(|object| {
            let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
            let name = object.name().to_owned();
            [
                or_dash(object.api_version),
                or_dash(object.kind),
                name,
                object.pointer(),
            ]
        });
        texts.collect()
    }

    #[test]
    fn items_of_typed_lists_have_the_type_that_their_list_says() {
        for (list, api_version, kind) in [
            ("ServiceAccountList", "v1", "ServiceAccount"),
            ("PodList", "v1", "Pod"),
            ("DeploymentList", "apps/v1", "Deployment"),
            ("CronJobList", "batch/v1", "CronJob"),
        ] {
            let text =
                format!("apiVersion: {api_version}\nkind: {list}\nitems:\n- metadata: {{name: a}}\n- kind: Other\n");
            let [first, second] = [
                [api_version, kind, "a", "/items/0"],
                [api_version, "Other", "", "/items/1"],
            ];
            assert_eq!(objects(&text), [first, second], "{text}");
        }
    }

    #[test]
    fn a_list_says_nothing_of_the_types_of_its_items() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- metadata: {name: a}\n- {apiVersion: v1, kind: PodList, items: [{}]}\n";
        let expected = [["-", "-", "a", "/items/0"], ["v1", "Pod", "", "/items/1/items/0"]];
        assert_eq!(objects(text), expected);
    }

    #[test]
    fn what_is_not_a_list_is_an_object() {
        for text in [
            "kind: AllowList\napiVersion: example.com/v1\nitems: none\n",
            "kind: AllowList\napiVersion: example.com/v1\nspec: {items: [{kind: Pod}]}\n",
        ] {
            assert_eq!(objects(text), [["example.com/v1", "AllowList", "", ""]], "{text}");
        }
        assert_eq!(objects("items: [{kind: Pod}]\n---\n[]\n---\n"), [["-", "-", "", ""]]);
    }
}
