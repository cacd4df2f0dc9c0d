//! Roles and what they may do, as data, compiled to a table that answers in nanoseconds.

use std::{any::TypeId, collections::HashMap, sync::Arc};

use serde::Deserialize;

use super::{Permission, Relations};

/// A policy could not be compiled. Names the role or permission at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The text is not TOML of the right shape.
    #[error("the policy is not well formed: {0}")]
    Syntax(String),
    /// A name is not one to three words of `a-z 0-9 _` joined by dots, 64 bytes at most.
    #[error("`{0}` is no name for a role, permission or class: use `a-z`, `0-9`, `_` and `.`, 64 bytes at most")]
    Name(String),
    /// A relation that does not exist.
    #[error("role `{role}`, permission `{permission}`: the relations are `own`, `assigned`, `circle` and `clinic`")]
    Relation {
        /// The role at fault.
        role: String,
        /// The permission at fault.
        permission: String,
    },
    /// The policy has no role, so that nobody could do anything.
    #[error("the policy declares no role")]
    Empty,
    /// A role may do something that opens a data class above its ceiling.
    #[error(
        "role `{role}` is granted `{permission}`, which opens `{class}` data, but its ceiling does not list `{class}`: take the grant away or raise the ceiling"
    )]
    Ceiling {
        /// The role at fault.
        role: String,
        /// The permission that opens too much.
        permission: String,
        /// The class that it opens.
        class: String,
    },
    /// The policy grants a permission that no route asks for: most likely a misspelling.
    #[error("role `{role}` is granted `{permission}`, which no route asks for: is it misspelt?")]
    Unused {
        /// The role at fault.
        role: String,
        /// The permission that nothing asks for.
        permission: String,
    },
    /// Two permission types share one id.
    #[error("two permissions are called `{0}`: a grant for one would pass for the other")]
    Twins(String),
}

/// The longest policy that is read, in bytes.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    roles: std::collections::BTreeMap<String, RoleDocument>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleDocument {
    /// The data classes that this role may ever open.
    #[serde(default)]
    ceiling: Vec<String>,
    /// From permission to the relations under which it holds.
    #[serde(default)]
    grants: std::collections::BTreeMap<String, OneOrMore>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// A compiled policy. Cheap to clone.
///
/// ```
/// use tower_ward::access::{MAX_POLICY_BYTES, Policy, Relations};
///
/// let policy = Policy::from_toml(r#"
///     [roles.doctor]
///     ceiling = ["clinical", "schedule"]
///     grants."notes.read" = "assigned"
///     grants."schedule.read" = "clinic"
///
///     [roles.receptionist]
///     ceiling = ["schedule"]
///     grants."schedule.read" = "clinic"
/// "#)?;
///
/// assert_eq!(policy.relations("doctor", "notes.read"), Relations::ASSIGNED);
/// // What is not granted is refused, and so is a role that nobody declared.
/// assert!(policy.relations("receptionist", "notes.read").is_empty());
/// assert!(policy.relations("janitor", "schedule.read").is_empty());
/// assert!(Policy::from_toml(&"#".repeat(MAX_POLICY_BYTES + 1)).is_err());
/// # Ok::<(), tower_ward::access::PolicyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Policy(Arc<Table>);

/// Places by name. Only the policy's author chooses what is in it, so the hash need not be one that withstands an attacker.
type Names = HashMap<String, usize, foldhash::fast::RandomState>;

#[derive(Debug)]
struct Table {
    permissions: Names,
    roles: Vec<Role>,
    by_name: Names,
}

#[derive(Debug)]
struct Role {
    name: String,
    ceiling: Vec<String>,
    /// Indexed by permission.
    allowed: Vec<Relations>,
}

/// A permission's place in one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PermissionIndex(usize);

impl Policy {
    /// Reads a policy. Whatever it does not grant is refused.
    ///
    /// # Errors
    ///
    /// [`PolicyError`], which names the role and permission at fault.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::Syntax(format!("longer than {MAX_POLICY_BYTES} bytes")));
        }
        let document: Document = toml::from_str(text).map_err(|e| PolicyError::Syntax(start_of(e.message())))?;
        if document.roles.is_empty() {
            return Err(PolicyError::Empty);
        }
        let mut permissions = Names::default();
        for role in document.roles.values() {
            for name in role.grants.keys() {
                check_name(name)?;
                let next = permissions.len();
                permissions.entry(name.clone()).or_insert(next);
            }
        }
        let mut roles = Vec::with_capacity(document.roles.len());
        let mut by_name = Names::default();
        for (name, role) in document.roles {
            check_name(&name)?;
            role.ceiling.iter().try_for_each(|class| check_name(class))?;
            let mut allowed = vec![Relations::NONE; permissions.len()];
            for (permission, relations) in role.grants {
                let names = match relations {
                    OneOrMore::One(name) => vec![name],
                    OneOrMore::More(names) => names,
                };
                let found = names.iter().try_fold(Relations::NONE, |all, n| Some(all.union(Relations::named(n)?)));
                match found {
                    Some(relations) if !relations.is_empty() => allowed[permissions[&permission]] = relations,
                    _ => return Err(PolicyError::Relation { role: name, permission }),
                }
            }
            by_name.insert(name.clone(), roles.len());
            roles.push(Role { name, ceiling: role.ceiling, allowed });
        }
        Ok(Self(Arc::new(Table { permissions, roles, by_name })))
    }

    /// The relations under which `role` may do `permission`; none is a refusal.
    #[must_use]
    pub fn relations(&self, role: &str, permission: &str) -> Relations {
        match self.index(permission) {
            Some(index) => self.decide(role, index),
            None => Relations::NONE,
        }
    }

    /// The roles, in alphabetical order.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.0.roles.iter().map(|r| r.name.as_str())
    }

    /// Whether the policy declares this role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.0.by_name.contains_key(role)
    }

    /// Every role may do for the whole clinic what any may do anywhere, and open what any may open.
    #[cfg(feature = "testing")]
    pub(crate) fn everything_to_everybody(&self) -> Self {
        let table = &*self.0;
        let everywhere = |index: usize| {
            let granted = table.roles.iter().any(|role| !role.allowed[index].is_empty());
            if granted { Relations::CLINIC } else { Relations::NONE }
        };
        let allowed: Vec<Relations> = (0..table.permissions.len()).map(everywhere).collect();
        let ceiling: Vec<String> = table.roles.iter().flat_map(|role| role.ceiling.clone()).collect();
        let role = |role: &Role| Role { name: role.name.clone(), ceiling: ceiling.clone(), allowed: allowed.clone() };
        let roles = table.roles.iter().map(role).collect();
        Self(Arc::new(Table { permissions: table.permissions.clone(), roles, by_name: table.by_name.clone() }))
    }

    pub(crate) fn index(&self, permission: &str) -> Option<PermissionIndex> {
        self.0.permissions.get(permission).map(|i| PermissionIndex(*i))
    }

    /// The decision on the path of a request: one hash of the role's name, one look into its row.
    pub(crate) fn decide(&self, role: &str, permission: PermissionIndex) -> Relations {
        let table = &*self.0;
        table.by_name.get(role).map_or(Relations::NONE, |role| table.roles[*role].allowed[permission.0])
    }

    /// Checks this policy against the permissions that the routes ask for, and those of the declared tasks.
    ///
    /// # Errors
    ///
    /// A role above its ceiling, a granted permission that nothing asks for, or two permission types with one id.
    pub fn check(&self, asked: &[PermissionInfo], tasks: &[PermissionInfo]) -> Result<(), PolicyError> {
        let mut known: HashMap<&str, &PermissionInfo> = HashMap::new();
        for info in asked.iter().chain(tasks) {
            if known.insert(info.id, info).is_some_and(|other| other.kind != info.kind) {
                return Err(PolicyError::Twins(info.id.to_owned()));
            }
        }
        for role in &self.0.roles {
            let mut granted: Vec<_> =
                self.0.permissions.iter().filter(|(_, i)| !role.allowed[**i].is_empty()).map(|(p, _)| p).collect();
            granted.sort_unstable();
            for permission in granted {
                let (role_name, permission) = (role.name.clone(), permission.clone());
                let Some(info) = known.get(permission.as_str()) else {
                    return Err(PolicyError::Unused { role: role_name, permission });
                };
                if let Some(class) = info.opens.iter().find(|class| !role.ceiling.iter().any(|c| c == *class)) {
                    return Err(PolicyError::Ceiling { role: role_name, permission, class: (*class).to_owned() });
                }
            }
        }
        Ok(())
    }
}

/// A permission as data: what the check of a policy and the printed matrix need to know of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PermissionInfo {
    pub(crate) id: &'static str,
    pub(crate) opens: &'static [&'static str],
    pub(crate) kind: TypeId,
}

impl PermissionInfo {
    /// The permission `P` as data.
    #[must_use]
    pub fn of<P: Permission>() -> Self {
        Self { id: P::ID, opens: P::OPENS, kind: TypeId::of::<P>() }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        self.id
    }

    /// The data classes that it opens.
    #[must_use]
    pub const fn opens(&self) -> &'static [&'static str] {
        self.opens
    }
}

fn check_name(name: &str) -> Result<(), PolicyError> {
    if crate::id::is_name(name) { Ok(()) } else { Err(PolicyError::Name(name.chars().take(64).collect())) }
}

/// The parser repeats what it did not expect, however long that is.
fn start_of(message: &str) -> String {
    message.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::classes! { Clinical = "clinical"; Schedule = "schedule"; }
    crate::permissions! {
        ReadNotes = "notes.read" opens Clinical;
        ReadSchedule = "schedule.read" opens Schedule;
    }
    mod other {
        crate::permissions! { pub(super) ReadNotes = "notes.read"; }
    }

    fn asked() -> [PermissionInfo; 2] {
        [PermissionInfo::of::<ReadNotes>(), PermissionInfo::of::<ReadSchedule>()]
    }

    #[test]
    fn a_role_above_its_ceiling_does_not_boot() {
        let policy = Policy::from_toml("[roles.desk]\nceiling = ['schedule']\ngrants.'notes.read' = 'clinic'").unwrap();
        assert_eq!(
            policy.check(&asked(), &[]),
            Err(PolicyError::Ceiling {
                role: "desk".into(),
                permission: "notes.read".into(),
                class: "clinical".into()
            })
        );
    }

    #[test]
    fn a_misspelt_permission_does_not_boot() {
        let policy = Policy::from_toml("[roles.desk]\ngrants.'notes.raed' = 'clinic'").unwrap();
        assert!(matches!(policy.check(&asked(), &[]), Err(PolicyError::Unused { .. })));
    }

    #[test]
    fn two_permissions_with_one_id_do_not_boot() {
        let policy = Policy::from_toml("[roles.desk]").unwrap();
        let twins = [PermissionInfo::of::<ReadNotes>(), PermissionInfo::of::<other::ReadNotes>()];
        assert_eq!(policy.check(&twins, &[]), Err(PolicyError::Twins("notes.read".into())));
        // The same permission on two routes is no twin.
        assert_eq!(policy.check(&[twins[0], twins[0]], &[]), Ok(()));
        // Nor does a task get by with a permission of its own that is called like a route's.
        assert!(policy.check(&twins[..1], &twins[1..]).is_err());
    }

    #[test]
    fn malformed_policies_are_refused() {
        for (name, text) in [
            ("no roles", "[roles]"),
            ("unknown key", "[roles.desk]\nceilings = []"),
            ("unknown relation", "[roles.desk]\ngrants.'notes.read' = 'everyone'"),
            ("no relation at all", "[roles.desk]\ngrants.'notes.read' = []"),
            ("a wildcard", "[roles.desk]\ngrants.'*' = 'clinic'"),
            ("upper case", "[roles.Desk]"),
            ("a grant twice", "[roles.desk]\ngrants.'a.b' = 'own'\ngrants.'a.b' = 'clinic'"),
            ("not toml", "roles: {}"),
        ] {
            assert!(Policy::from_toml(text).is_err(), "{name}");
        }
        assert!(Policy::from_toml(&" ".repeat(MAX_POLICY_BYTES + 1)).is_err());
    }
}
