//! A second evaluator of trust policies, written from the rules alone, for clarity and not for speed.
//!
//! It shares nothing with `src/trust/`: where the two differ, one of them is wrong.

use base64::Engine as _;

use super::json::Json;

/// What the naive evaluator answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Malformed,
    Trusted,
    NotTrusted,
    Undecided,
}

/// Who asks whom, and what else is known.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) partition: String,
    pub(crate) account: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) audience: String,
    /// Seconds since the epoch.
    pub(crate) now: Option<i64>,
    pub(crate) tags: Option<Vec<(String, String)>>,
}

impl Request {
    pub(crate) fn provider_arn(&self) -> String {
        format!(
            "arn:{}:iam::{}:oidc-provider/{}",
            self.partition, self.account, self.issuer
        )
    }
}

pub(crate) fn evaluate(policy: &Json, request: &Request) -> Answer {
    match statements(policy) {
        None => Answer::Malformed,
        Some((version, statements)) => {
            let of = |wanted: Effect| {
                statements
                    .iter()
                    .filter(move |statement| statement.effect == wanted)
                    .map(|it| it.applies(version, request))
            };
            let (denied, allowed) = (or(of(Effect::Deny)), or(of(Effect::Allow)));
            match (denied, allowed) {
                (Tri::Yes, _) | (_, Tri::No) => Answer::NotTrusted,
                (Tri::No, Tri::Yes) => Answer::Trusted,
                _ => Answer::Undecided,
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Three values

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tri {
    Yes,
    No,
    CannotKnow,
}

fn and(values: impl IntoIterator<Item = Tri>) -> Tri {
    let values: Vec<Tri> = values.into_iter().collect();
    if values.contains(&Tri::No) {
        Tri::No
    } else if values.contains(&Tri::CannotKnow) {
        Tri::CannotKnow
    } else {
        Tri::Yes
    }
}

fn or(values: impl IntoIterator<Item = Tri>) -> Tri {
    not(and(values.into_iter().map(not)))
}

fn not(value: Tri) -> Tri {
    match value {
        Tri::Yes => Tri::No,
        Tri::No => Tri::Yes,
        Tri::CannotKnow => Tri::CannotKnow,
    }
}

fn known(value: bool) -> Tri {
    if value { Tri::Yes } else { Tri::No }
}

/// One of these, and it is not known which.
fn one_of(values: &[Tri]) -> Tri {
    match values {
        [first, rest @ ..] if rest.iter().all(|value| value == first) => *first,
        _ => Tri::CannotKnow,
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Grammar

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V2008,
    V2012,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

struct Statement {
    effect: Effect,
    /// Kind and value.
    principals: Vec<(String, String)>,
    actions: Vec<String>,
    /// `NotAction`.
    all_actions_but: bool,
    conditions: Vec<Condition>,
}

struct Condition {
    operator: Operator,
    key: String,
    values: Vec<String>,
}

/// The statements of a well-formed document.
fn statements(policy: &Json) -> Option<(Version, Vec<Statement>)> {
    let entries = object(policy)?;
    let mut version = Version::V2008;
    let mut found = None;
    for (key, value) in entries {
        match (key.as_str(), value) {
            ("Version", Json::Text(text)) if text == "2012-10-17" => version = Version::V2012,
            ("Version", Json::Text(text)) if text == "2008-10-17" => version = Version::V2008,
            ("Id", Json::Text(_)) => {}
            ("Statement", value) => found = Some(value.as_list()),
            _ => return None,
        }
    }
    let statements: Vec<Statement> = found?.into_iter().map(statement).collect::<Option<_>>()?;
    let mut sids: Vec<&str> = found_sids(policy);
    sids.sort_unstable();
    let unique = sids.windows(2).all(|pair| pair[0] != pair[1]);
    (unique && !statements.is_empty()).then_some((version, statements))
}

/// Every Sid that is not empty.
fn found_sids(policy: &Json) -> Vec<&str> {
    let Json::Object(entries) = policy else {
        return Vec::new();
    };
    let statements = entries
        .iter()
        .filter(|(key, _)| key == "Statement")
        .flat_map(|(_, value)| value.as_list());
    statements
        .filter_map(|statement| match statement {
            Json::Object(elements) => elements.iter().find(|(key, _)| key == "Sid"),
            _ => None,
        })
        .filter_map(|(_, sid)| match sid {
            Json::Text(text) if !text.is_empty() => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

fn statement(json: &Json) -> Option<Statement> {
    let (mut effect, mut principals, mut action, mut not_action) = (None, None, None, None);
    let mut conditions = Vec::new();
    for (key, value) in object(json)? {
        match (key.as_str(), value) {
            ("Sid", Json::Text(_)) => {}
            ("Effect", Json::Text(text)) if text == "Allow" => effect = Some(Effect::Allow),
            ("Effect", Json::Text(text)) if text == "Deny" => effect = Some(Effect::Deny),
            ("Principal", value) => principals = Some(principal(value)?),
            ("Action", value) => action = Some(texts(value)?),
            ("NotAction", value) => not_action = Some(texts(value)?),
            ("Condition", value) => conditions = condition(value)?,
            _ => return None,
        }
    }
    let (actions, all_actions_but) = match (action, not_action) {
        (Some(actions), None) => (actions, false),
        (None, Some(actions)) => (actions, true),
        _ => return None,
    };
    Some(Statement {
        effect: effect?,
        principals: principals?,
        actions,
        all_actions_but,
        conditions,
    })
}

fn principal(json: &Json) -> Option<Vec<(String, String)>> {
    if json == &Json::text("*") {
        return Some(vec![("AWS".to_owned(), "*".to_owned())]);
    }
    let mut all = Vec::new();
    for (kind, value) in object(json)? {
        if !["AWS", "Service", "Federated"].contains(&kind.as_str()) {
            return None;
        }
        all.extend(texts(value)?.into_iter().map(|text| (kind.clone(), text)));
    }
    Some(all)
}

fn condition(json: &Json) -> Option<Vec<Condition>> {
    let mut all = Vec::new();
    for (name, keys) in object(json)? {
        let operator = Operator::parse(name)?;
        for (key, value) in object(keys)? {
            let values: Vec<String> = value.as_list().into_iter().map(scalar).collect::<Option<_>>()?;
            if !values.iter().all(|value| operator.takes(value)) {
                return None;
            }
            all.push(Condition {
                operator,
                key: key.clone(),
                values,
            });
        }
    }
    Some(all)
}

/// An object's entries; none when a key is repeated.
fn object(json: &Json) -> Option<&Vec<(String, Json)>> {
    let Json::Object(entries) = json else { return None };
    let repeated =
        |(index, (key, _)): (usize, &(String, Json))| entries.iter().skip(index + 1).any(|(other, _)| other == key);
    (!entries.iter().enumerate().any(repeated)).then_some(entries)
}

fn texts(json: &Json) -> Option<Vec<String>> {
    let text = |value: &Json| match value {
        Json::Text(text) => Some(text.clone()),
        _ => None,
    };
    json.as_list().into_iter().map(text).collect()
}

fn scalar(json: &Json) -> Option<String> {
    match json {
        Json::Text(text) | Json::Number(text) => Some(text.clone()),
        Json::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Operators

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    Arn,
    Numeric(Order),
    Date(Order),
    Bool,
    Binary,
    Ip,
    Null,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    None,
    ForAll,
    ForAny,
}

#[derive(Clone, Copy)]
struct Operator {
    family: Family,
    negated: bool,
    if_exists: bool,
    set: Set,
}

impl Operator {
    fn parse(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        let (set, name) = match (name.strip_prefix("forallvalues:"), name.strip_prefix("foranyvalue:")) {
            (Some(rest), _) => (Set::ForAll, rest.to_owned()),
            (_, Some(rest)) => (Set::ForAny, rest.to_owned()),
            _ => (Set::None, name),
        };
        let (if_exists, name) = match name.strip_suffix("ifexists") {
            Some(rest) => (true, rest.to_owned()),
            None => (false, name),
        };
        let (family, negated) = match name.as_str() {
            "stringequals" => (Family::StringEquals, false),
            "stringnotequals" => (Family::StringEquals, true),
            "stringequalsignorecase" => (Family::StringEqualsIgnoreCase, false),
            "stringnotequalsignorecase" => (Family::StringEqualsIgnoreCase, true),
            "stringlike" => (Family::StringLike, false),
            "stringnotlike" => (Family::StringLike, true),
            "arnequals" | "arnlike" => (Family::Arn, false),
            "arnnotequals" | "arnnotlike" => (Family::Arn, true),
            "numericequals" => (Family::Numeric(Order::Equal), false),
            "numericnotequals" => (Family::Numeric(Order::Equal), true),
            "numericlessthan" => (Family::Numeric(Order::Less), false),
            "numericlessthanequals" => (Family::Numeric(Order::LessOrEqual), false),
            "numericgreaterthan" => (Family::Numeric(Order::Greater), false),
            "numericgreaterthanequals" => (Family::Numeric(Order::GreaterOrEqual), false),
            "dateequals" => (Family::Date(Order::Equal), false),
            "datenotequals" => (Family::Date(Order::Equal), true),
            "datelessthan" => (Family::Date(Order::Less), false),
            "datelessthanequals" => (Family::Date(Order::LessOrEqual), false),
            "dategreaterthan" => (Family::Date(Order::Greater), false),
            "dategreaterthanequals" => (Family::Date(Order::GreaterOrEqual), false),
            "bool" => (Family::Bool, false),
            "binaryequals" => (Family::Binary, false),
            "ipaddress" => (Family::Ip, false),
            "notipaddress" => (Family::Ip, true),
            "null" => (Family::Null, false),
            _ => return None,
        };
        let plain = !if_exists && set == Set::None;
        (family != Family::Null || plain).then_some(Self {
            family,
            negated,
            if_exists,
            set,
        })
    }

    /// Whether IAM would store this value under the operator.
    fn takes(self, value: &str) -> bool {
        if value == "*" || value.contains("${") {
            return true;
        }
        match self.family {
            Family::Numeric(_) => number(value).is_some(),
            Family::Date(_) => date(value).is_some(),
            Family::Ip => network(value).is_some(),
            Family::Binary => binary(value).is_some(),
            Family::Arn => is_arn(value),
            _ => true,
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Does a statement apply?

impl Statement {
    fn applies(&self, version: Version, request: &Request) -> Tri {
        let principal = or(self
            .principals
            .iter()
            .map(|(kind, value)| match (kind.as_str(), value.as_str()) {
                ("Federated", arn) => known(arn == request.provider_arn()),
                ("AWS", "*") if self.effect == Effect::Deny => Tri::CannotKnow,
                _ => Tri::No,
            }));
        let named = self.actions.iter().any(|pattern| {
            let pattern = pieces_of_glob(&pattern.to_lowercase());
            matches(&pattern, "sts:assumerolewithwebidentity")
        });
        let action = known(named != self.all_actions_but);
        let conditions = and(self
            .conditions
            .iter()
            .map(|condition| condition.holds(version, request)));
        and([principal, action, conditions])
    }
}

/// What is known of a key.
#[derive(Clone, Debug)]
enum Value {
    Absent,
    Text(String),
    /// Absent, or any text.
    Anything,
    /// Always there, 2 to 64 of `[A-Za-z0-9_+=,.@-]`.
    SessionName,
    /// From now on.
    Time,
}

fn value_of(key: &str, request: &Request) -> Value {
    let key = key.to_lowercase();
    let issuer = request.issuer.to_lowercase();
    if key == format!("{issuer}:sub") {
        return Value::Text(request.subject.clone());
    }
    if key == format!("{issuer}:aud") {
        return Value::Text(request.audience.clone());
    }
    let before_last_colon = key.rsplit_once(':').map_or(key.as_str(), |(before, _)| before);
    let starts = |beginnings: &[&str]| {
        beginnings
            .iter()
            .any(|beginning| key.starts_with(&beginning.to_lowercase()))
    };
    let first = key.split(':').next().unwrap_or_default();
    // As many prefixes as the generated keys need.
    let services = ["aws", "sts", "iam", "saml", "ec2", "eks", "identitystore", "s3", "kms"];
    let of_service = key.contains(':') && services.contains(&first);
    let has_claim = [":sub", ":aud"].iter().any(|claim| format!(":{key}").ends_with(claim));
    let odd = before_last_colon.contains(['$', '{', '<', '/']);
    let of_issuer = before_last_colon.contains('.')
        || starts(&["https://", "arn:"])
        || before_last_colon == issuer
        || odd
        || has_claim;
    if of_issuer && !of_service {
        return Value::Absent;
    }
    for prefix in ["aws:resourcetag/", "iam:resourcetag/"] {
        if let (Some(name), Some(tags)) = (key.strip_prefix(prefix), &request.tags) {
            let tag = tags.iter().find(|(tag, _)| tag.to_lowercase() == name);
            return tag.map_or(Value::Absent, |(_, value)| Value::Text(value.clone()));
        }
    }
    let absent = [
        "aws:TagKeys",
        "sts:TransitiveTagKeys",
        "sts:SourceIdentity",
        "sts:ExternalId",
        "sts:DurationSeconds",
        "aws:PrincipalArn",
        "aws:TokenIssueTime",
        "aws:SourceIdentity",
        "aws:username",
        "aws:SourceArn",
        "aws:SourceAccount",
        "aws:SourceOrgID",
        "aws:SourceOrgPaths",
        "aws:AssumedRoot",
        "sts:AWSServiceName",
        "iam:PassedToService",
    ];
    let absent_beginnings = [
        "aws:RequestTag/",
        "aws:PrincipalTag/",
        "aws:MultiFactorAuth",
        "aws:PrincipalOrg",
        "aws:CalledVia",
        "aws:PrincipalServiceName",
        "aws:Ec2InstanceSource",
        "identitystore:",
        "saml:",
    ];
    if absent.iter().any(|name| name.to_lowercase() == key) || starts(&absent_beginnings) {
        return Value::Absent;
    }
    match key.as_str() {
        "sts:roleauthorizedbyidp" => Value::Text("false".to_owned()),
        "aws:resourceaccount" | "aws:principalaccount" => Value::Text(request.account.clone()),
        "aws:principaltype" => Value::Text("User".to_owned()),
        "aws:userid" => Value::Text(request.provider_arn()),
        "aws:securetransport" => Value::Text("true".to_owned()),
        "sts:rolesessionname" => Value::SessionName,
        "aws:currenttime" | "aws:epochtime" => Value::Time,
        _ => Value::Anything,
    }
}

impl Condition {
    fn holds(&self, version: Version, request: &Request) -> Tri {
        if self.values.is_empty() {
            return Tri::CannotKnow;
        }
        match value_of(&self.key, request) {
            Value::Absent => self.on_absent(),
            Value::Text(text) => self.on_text(&text, version, request),
            Value::Time => self.on_time(request.now),
            Value::Anything => {
                let mut outcomes = self.outcomes_on_any_text(version, request);
                outcomes.push(self.on_absent());
                one_of(&outcomes)
            }
            Value::SessionName => one_of(&self.outcomes_on_session_name(version, request)),
        }
    }

    fn on_absent(&self) -> Tri {
        let Operator {
            family,
            negated,
            if_exists,
            set,
        } = self.operator;
        match (family, set, if_exists) {
            (Family::Null, _, _) => known(self.values.iter().any(|value| is_true(value))),
            (_, Set::ForAny, true) => Tri::CannotKnow,
            (_, _, true) | (_, Set::ForAll, _) => Tri::Yes,
            (_, Set::ForAny, _) => Tri::No,
            (_, Set::None, _) => known(negated),
        }
    }

    fn on_text(&self, text: &str, version: Version, request: &Request) -> Tri {
        let Operator { family, negated, .. } = self.operator;
        let unfit = match family {
            Family::Arn => !is_arn(text),
            Family::Ip => text.parse::<std::net::IpAddr>().is_err(),
            _ => false,
        };
        if unfit {
            return Tri::No;
        }
        let any = or(self.values.iter().map(|value| self.one(text, value, version, request)));
        if negated { not(any) } else { any }
    }

    /// Whether the request's text fits one value, the negation left aside.
    fn one(&self, text: &str, value: &str, version: Version, request: &Request) -> Tri {
        match self.operator.family {
            Family::Null => known(!is_true(value)),
            Family::Bool => known(is_true(text) == is_true(value)),
            Family::Numeric(order) => known(compare(order, number(text), number(value))),
            Family::Date(order) => known(compare(order, date(text), date(value))),
            Family::Binary => known(binary(value).is_some_and(|bytes| bytes == text.as_bytes())),
            Family::Ip => known(
                network(value)
                    .zip(text.parse().ok())
                    .is_some_and(|(network, address)| contains(network, address)),
            ),
            Family::Arn => match self.pattern(value, version, request) {
                Pattern::Nothing => Tri::No,
                Pattern::Pieces(_) if value == "*" => Tri::Yes,
                Pattern::Pieces(pieces) => pieces_match(&pieces, arn_matches(&pieces, text)),
            },
            Family::StringEquals | Family::StringLike => match self.pattern(value, version, request) {
                Pattern::Nothing => Tri::No,
                Pattern::Pieces(pieces) => pieces_match(&pieces, matches(&pieces, text)),
            },
            Family::StringEqualsIgnoreCase => match self.pattern(value, version, request) {
                Pattern::Nothing => Tri::No,
                Pattern::Pieces(pieces) => {
                    let pieces = lowered(pieces);
                    pieces_match(&pieces, matches(&pieces, &text.to_lowercase()))
                }
            },
        }
    }

    /// The possible results if the key can have any text.
    fn outcomes_on_any_text(&self, version: Version, request: &Request) -> Vec<Tri> {
        let (mut can_match, mut can_fail) = match self.operator.family {
            Family::Null => {
                let present = self.values.iter().any(|value| !is_true(value));
                (present, !present)
            }
            Family::Bool => {
                let both =
                    self.values.iter().any(|value| is_true(value)) && self.values.iter().any(|value| !is_true(value));
                (true, !both)
            }
            Family::StringEquals | Family::StringEqualsIgnoreCase | Family::StringLike | Family::Arn => {
                let patterns: Vec<Pattern> = self
                    .values
                    .iter()
                    .map(|value| self.pattern(value, version, request))
                    .collect();
                let like = matches!(self.operator.family, Family::StringLike | Family::Arn);
                let can_match = patterns.iter().any(|pattern| !matches!(pattern, Pattern::Nothing));
                let always = patterns.iter().any(|pattern| like && pattern.is_only_stars());
                (can_match, !always)
            }
            _ => (true, true),
        };
        if self.operator.negated {
            std::mem::swap(&mut can_match, &mut can_fail);
        }
        // What is not an ARN, or not an address, satisfies neither the operator nor its negation.
        can_fail |= matches!(self.operator.family, Family::Arn | Family::Ip);
        [(can_match, Tri::Yes), (can_fail, Tri::No)]
            .into_iter()
            .filter(|(can, _)| *can)
            .map(|(_, tri)| tri)
            .collect()
    }

    /// The possible results for a session name that is not known yet.
    fn outcomes_on_session_name(&self, version: Version, request: &Request) -> Vec<Tri> {
        let string = matches!(
            self.operator.family,
            Family::StringEquals | Family::StringEqualsIgnoreCase | Family::StringLike
        );
        if self.operator.family == Family::Arn {
            return vec![Tri::No];
        }
        if !string {
            return self.outcomes_on_any_text(version, request);
        }
        let patterns: Vec<Pattern> = self
            .values
            .iter()
            .map(|value| self.pattern(value, version, request))
            .collect();
        let mut can_match = patterns.iter().any(Pattern::can_be_session_name);
        let mut can_fail = !patterns.iter().any(Pattern::is_any_session_name);
        if self.operator.negated {
            std::mem::swap(&mut can_match, &mut can_fail);
        }
        [(can_match, Tri::Yes), (can_fail, Tri::No)]
            .into_iter()
            .filter(|(can, _)| *can)
            .map(|(_, tri)| tri)
            .collect()
    }

    /// Time only grows: what comes may be now or any time later.
    fn on_time(&self, now: Option<i64>) -> Tri {
        let Operator { family, negated, .. } = self.operator;
        let (Family::Date(order) | Family::Numeric(order), Some(now)) = (family, now) else {
            return Tri::CannotKnow;
        };
        #[allow(clippy::cast_precision_loss)]
        let now = now as f64;
        let any = or(self.values.iter().map(|value| {
            let bound = if matches!(family, Family::Date(_)) {
                date(value)
            } else {
                number(value)
            };
            let Some(bound) = bound else { return Tri::CannotKnow };
            match order {
                Order::Less if bound <= now => Tri::No,
                Order::LessOrEqual | Order::Equal if bound < now => Tri::No,
                Order::Greater if bound < now => Tri::Yes,
                Order::GreaterOrEqual if bound <= now => Tri::Yes,
                _ => Tri::CannotKnow,
            }
        }));
        if negated { not(any) } else { any }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Patterns and variables

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// A variable that only STS can fill in: any text, or none that matches at all.
    Unknown,
}

enum Pattern {
    Pieces(Vec<Piece>),
    /// A variable without value and default.
    Nothing,
}

impl Condition {
    fn pattern(&self, value: &str, version: Version, request: &Request) -> Pattern {
        let globs = matches!(self.operator.family, Family::StringLike | Family::Arn);
        let mut pieces = Vec::new();
        let mut rest = value;
        while let Some(first) = rest.chars().next() {
            if version == Version::V2012 && rest.starts_with("${") {
                let end = rest.find('}').expect("variables are closed");
                let variable = &rest[2..end];
                rest = &rest[end + 1..];
                match fill_in(variable, request) {
                    Pattern::Pieces(literal) => pieces.extend(literal),
                    Pattern::Nothing => return Pattern::Nothing,
                }
                continue;
            }
            rest = &rest[first.len_utf8()..];
            pieces.push(match first {
                '*' if globs => Piece::Many,
                '?' if globs => Piece::One,
                other => Piece::Literal(other),
            });
        }
        Pattern::Pieces(pieces)
    }
}

fn fill_in(variable: &str, request: &Request) -> Pattern {
    let literal = |text: &str| Pattern::Pieces(text.chars().map(Piece::Literal).collect());
    if ["*", "?", "$"].contains(&variable) {
        return literal(variable);
    }
    let (key, default) = match variable.split_once(", '") {
        Some((key, default)) => (key, default.strip_suffix('\'')),
        None => (variable, None),
    };
    if !key.contains(':') {
        return default.map_or(Pattern::Nothing, literal);
    }
    match (value_of(key, request), default) {
        (Value::Text(text), _) => literal(&text),
        (Value::Absent, Some(default)) => literal(default),
        (Value::Absent, None) => Pattern::Nothing,
        _ => Pattern::Pieces(vec![Piece::Unknown]),
    }
}

impl Pattern {
    fn is_only_stars(&self) -> bool {
        matches!(self, Self::Pieces(pieces) if !pieces.is_empty() && pieces.iter().all(|piece| *piece == Piece::Many))
    }

    fn can_be_session_name(&self) -> bool {
        let pieces = match self {
            Self::Nothing => return false,
            Self::Pieces(pieces) => pieces,
        };
        let allowed = |piece: &Piece| match piece {
            Piece::Literal(c) => c.is_ascii_alphanumeric() || "_+=,.@-".contains(*c),
            _ => true,
        };
        let grows = |piece: &Piece| matches!(piece, Piece::Many | Piece::Unknown);
        let least = pieces.iter().filter(|piece| !grows(piece)).count();
        let grows = pieces.iter().any(grows);
        pieces.iter().all(allowed) && least <= 64 && (least >= 2 || grows)
    }

    fn is_any_session_name(&self) -> bool {
        let Self::Pieces(pieces) = self else { return false };
        let count = |wanted: Piece| pieces.iter().filter(|piece| **piece == wanted).count();
        count(Piece::Many) > 0 && count(Piece::Many) + count(Piece::One) == pieces.len() && count(Piece::One) <= 2
    }
}

/// A pattern with an unknown part that might match may as well not.
fn pieces_match(pieces: &[Piece], might: bool) -> Tri {
    match might {
        true if pieces.contains(&Piece::Unknown) => Tri::CannotKnow,
        might => known(might),
    }
}

fn pieces_of_glob(text: &str) -> Vec<Piece> {
    let piece = |c| match c {
        '*' => Piece::Many,
        '?' => Piece::One,
        other => Piece::Literal(other),
    };
    text.chars().map(piece).collect()
}

fn lowered(pieces: Vec<Piece>) -> Vec<Piece> {
    let lower = |piece| match piece {
        Piece::Literal(c) => Piece::Literal(c.to_ascii_lowercase()),
        other => other,
    };
    pieces.into_iter().map(lower).collect()
}

fn matches(pattern: &[Piece], text: &str) -> bool {
    match pattern {
        [] => text.is_empty(),
        [Piece::Many | Piece::Unknown, rest @ ..] => {
            let ends = text.char_indices().map(|(index, _)| index).chain([text.len()]);
            ends.into_iter().any(|start| matches(rest, &text[start..]))
        }
        [piece, rest @ ..] => text.chars().next().is_some_and(|c| {
            (*piece == Piece::One || *piece == Piece::Literal(c)) && matches(rest, &text[c.len_utf8()..])
        }),
    }
}

fn arn_matches(pattern: &[Piece], text: &str) -> bool {
    let wanted: Vec<&[Piece]> = pattern.splitn(6, |piece| *piece == Piece::Literal(':')).collect();
    let found: Vec<&str> = text.splitn(6, ':').collect();
    wanted.len() == 6 && wanted.iter().zip(found).all(|(wanted, found)| matches(wanted, found))
}

// ---------------------------------------------------------------------------------------------------------------------
// Values

fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

fn is_arn(text: &str) -> bool {
    text.starts_with("arn:") && text.split(':').count() >= 6
}

fn number(text: &str) -> Option<f64> {
    let plain = text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    text.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

fn compare(order: Order, left: Option<f64>, right: Option<f64>) -> bool {
    let (Some(left), Some(right)) = (left, right) else {
        return false;
    };
    match order {
        #[allow(clippy::float_cmp)]
        Order::Equal => left == right,
        Order::Less => left < right,
        Order::LessOrEqual => left <= right,
        Order::Greater => left > right,
        Order::GreaterOrEqual => left >= right,
    }
}

/// Seconds since the epoch: a number, `YYYY-MM-DD`, or with `THH:MM:SS` and `Z` or an offset of hours and minutes.
pub(crate) fn date(text: &str) -> Option<f64> {
    if let Some(number) = number(text) {
        return Some(number);
    }
    let (day, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let numbers = |text: &str, separator| {
        text.split(separator)
            .map(|part| part.parse::<i64>().ok())
            .collect::<Option<Vec<_>>>()
    };
    let [year, month, day] = numbers(day, '-')?.try_into().ok()?;
    let (clock, offset) = match (time.strip_suffix('Z'), time.split_once('+')) {
        (Some(clock), _) => (clock, 0),
        (_, Some((clock, offset))) => {
            let [hours, minutes] = numbers(offset, ':')?.try_into().ok()?;
            (clock, hours * 3600 + minutes * 60)
        }
        _ => return None,
    };
    let [hours, minutes, seconds] = numbers(clock, ':')?.try_into().ok()?;
    let clock_fits = (0..24).contains(&hours) && (0..60).contains(&minutes) && (0..60).contains(&seconds);
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let months = [
        31,
        if leap(year) { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    if !clock_fits || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let whole_years: i64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let whole_months: i64 = months.iter().take(usize::try_from(month - 1).ok()?).sum();
    let days = whole_years + whole_months + day - 1;
    #[allow(clippy::cast_precision_loss)]
    Some((days * 86_400 + hours * 3600 + minutes * 60 + seconds - offset) as f64)
}

fn binary(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

fn network(text: &str) -> Option<(std::net::IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let address: std::net::IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some((address, bits))
}

fn contains((network, bits): (std::net::IpAddr, u32), address: std::net::IpAddr) -> bool {
    use std::net::IpAddr::{V4, V6};
    match (network, address) {
        (V4(network), V4(address)) => {
            bits == 0 || u32::from(network) >> (32 - bits) == u32::from(address) >> (32 - bits)
        }
        (V6(network), V6(address)) => {
            bits == 0 || u128::from(network) >> (128 - bits) == u128::from(address) >> (128 - bits)
        }
        _ => false,
    }
}
