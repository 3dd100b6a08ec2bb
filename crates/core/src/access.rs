//! Who may do what over ssh: the accounts' keys, and what accounts have been granted.
//!
//! They are kept in one file of the installation's home, which the git host reads anew for each
//! connection: a key that is removed is dead at once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::function::{FunctionName, NameError, RepositoryName, check_segment};

/// What an account may do with a repository and its function. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Fetch, and see what runs and what it writes.
    Reader,
    /// Push as well.
    Writer,
    /// Remove, and let others in, as well.
    Owner,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Writer, Self::Owner];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| format!("{text:?} is no role: write reader, writer or owner"))
    }
}

/// A public key by which an account is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Whose it is.
    pub account: String,
    /// What it is called, once an account.
    pub name: String,
    /// Type and base64 with a space between, as OpenSSH writes them in `authorized_keys`.
    pub key: String,
}

/// What an account has been granted beside its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// A repository; or an account, for all of its repositories.
    pub on: String,
    /// Who may.
    pub account: String,
    /// What.
    pub role: Role,
}

/// All keys and grants of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// The keys. No key is in here twice.
    #[serde(default, rename = "key", skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Key>,
    /// The grants, at most one for each repository or account and who may.
    #[serde(default, rename = "grant", skip_serializing_if = "Vec::is_empty")]
    grants: Vec<Grant>,
}

/// Why something can't be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The file is not as it should be.
    #[error("{file}: {why}")]
    File {
        /// Which file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The key belongs to an account already.
    #[error(
        "the key is {account}'s already, as {name}: a key names one account, so make another for this one"
    )]
    KnownKey {
        /// Whose it is.
        account: String,
        /// What it is called there.
        name: String,
    },
    /// The account has a key of this name.
    #[error("{account} has another key named {name}: give this one another name, with --name")]
    KnownName {
        /// Whose it is.
        account: String,
        /// The name.
        name: String,
    },
    /// There is no such key.
    #[error("{account} has no key named {name}: corefn key list {account} shows those it has")]
    NoKey {
        /// Whose it should be.
        account: String,
        /// The name.
        name: String,
    },
    /// What is one's own can't be granted or revoked.
    #[error("{on} is {account}'s own: nobody can give or take that")]
    Own {
        /// The repository or account.
        on: String,
        /// Who owns it.
        account: String,
    },
    /// There is no such grant.
    #[error("{account} has not been granted {on}: corefn access list shows what has been granted")]
    NoGrant {
        /// The repository or account.
        on: String,
        /// Who should have it.
        account: String,
    },
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Access {
    /// Reads the text of `file`, which is named in errors.
    ///
    /// # Errors
    /// [`AccessError::File`] when it is no TOML, a key of it is unknown, or a name is none.
    pub fn parse(file: &str, text: &str) -> Result<Self, AccessError> {
        let wrong = |why: String| AccessError::File {
            file: file.to_owned(),
            why,
        };
        let access: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let accounts = access.keys.iter().map(|key| &key.account);
        for account in accounts.chain(access.grants.iter().map(|grant| &grant.account)) {
            check_segment(account).map_err(|error| wrong(error.to_string()))?;
        }
        for grant in &access.grants {
            let on: Result<RepositoryName, _> = grant.on.parse();
            on.map_err(|error| wrong(error.to_string()))?;
        }
        Ok(access)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// [`AccessError::File`], which nothing leads to.
    pub fn to_text(&self) -> Result<String, AccessError> {
        let written = toml::to_string(self);
        written.map_err(|error| AccessError::File {
            file: "the keys and grants".into(),
            why: error.to_string(),
        })
    }

    /// All keys, in the order in which they were added.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// All grants, in the order in which they were made.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The account that a key names.
    pub fn account_of(&self, key: &str) -> Option<&str> {
        let known = self.keys.iter().find(|known| known.key == key)?;
        Some(&known.account)
    }

    /// Gives an account a key.
    ///
    /// # Errors
    /// [`AccessError`] when the key or its name is known, or the account's name is none.
    pub fn add_key(&mut self, key: Key) -> Result<(), AccessError> {
        check_segment(&key.account)?;
        if let Some(known) = self.keys.iter().find(|known| known.key == key.key) {
            return Err(AccessError::KnownKey {
                account: known.account.clone(),
                name: known.name.clone(),
            });
        }
        let same = |known: &&Key| known.account == key.account && known.name == key.name;
        if self.keys.iter().any(|known| same(&known)) {
            return Err(AccessError::KnownName {
                account: key.account,
                name: key.name,
            });
        }
        self.keys.push(key);
        Ok(())
    }

    /// Takes a key from an account.
    ///
    /// # Errors
    /// [`AccessError::NoKey`].
    pub fn remove_key(&mut self, account: &str, name: &str) -> Result<(), AccessError> {
        let before = self.keys.len();
        self.keys
            .retain(|key| key.account != account || key.name != name);
        if self.keys.len() < before {
            return Ok(());
        }
        Err(AccessError::NoKey {
            account: account.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Grants an account a role, in place of the one it was granted before.
    ///
    /// # Errors
    /// [`AccessError`] when it is the account's own, or the account's name is none.
    pub fn grant(
        &mut self,
        on: &RepositoryName,
        account: &str,
        role: Role,
    ) -> Result<(), AccessError> {
        check_segment(account)?;
        if on.account() == account {
            return Err(AccessError::Own {
                on: on.to_string(),
                account: account.to_owned(),
            });
        }
        let on = on.to_string();
        let mut grants = self.grants.iter_mut();
        match grants.find(|grant| grant.on == on && grant.account == account) {
            Some(grant) => grant.role = role,
            None => self.grants.push(Grant {
                on,
                account: account.to_owned(),
                role,
            }),
        }
        Ok(())
    }

    /// Takes back what an account was granted.
    ///
    /// # Errors
    /// [`AccessError::NoGrant`].
    pub fn revoke(&mut self, on: &RepositoryName, account: &str) -> Result<(), AccessError> {
        let on = on.to_string();
        let before = self.grants.len();
        self.grants
            .retain(|grant| grant.on != on || grant.account != account);
        if self.grants.len() < before {
            return Ok(());
        }
        Err(AccessError::NoGrant {
            on,
            account: account.to_owned(),
        })
    }

    /// What an account may do with a repository: all with its own; with another's the most of what
    /// it was granted on the repository and on its account.
    pub fn role(&self, account: &str, on: &RepositoryName) -> Option<Role> {
        if on.account() == account {
            return Some(Role::Owner);
        }
        let grants = self
            .grants
            .iter()
            .filter(|grant| grant.account == account && covers(&grant.on, on));
        grants.map(|grant| grant.role).max()
    }

    /// What an account may do with a function, whose repository is that of its name or its
    /// account's.
    pub fn role_on(&self, account: &str, function: &FunctionName) -> Option<Role> {
        self.role(account, &RepositoryName::from(function.clone()))
    }

    /// Whether an account may make a repository: its own, or where it owns the whole account.
    pub fn may_create(&self, account: &str, repository: &RepositoryName) -> bool {
        let all = RepositoryName::of_account(repository);
        self.role(account, &all) == Some(Role::Owner)
    }
}

/// Whether a grant on `on` is one on the repository.
fn covers(on: &str, repository: &RepositoryName) -> bool {
    on == repository.account() || on == repository.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(account: &str, name: &str, key: &str) -> Key {
        Key {
            account: account.into(),
            name: name.into(),
            key: key.into(),
        }
    }

    fn repository(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[test]
    fn roles_include_each_other() {
        assert!(Role::Reader < Role::Writer && Role::Writer < Role::Owner);
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        let error = "admin".parse::<Role>().unwrap_err();
        assert!(error.contains("reader, writer or owner"), "{error}");
    }

    #[test]
    fn keys_name_one_account() {
        let mut access = Access::default();
        access.add_key(key("alice", "laptop", "t A")).unwrap();
        access.add_key(key("bob", "laptop", "t B")).unwrap();
        assert_eq!(access.account_of("t A"), Some("alice"));
        assert_eq!(access.account_of("t B"), Some("bob"));
        assert_eq!(access.account_of("t C"), None);
        let known = access.add_key(key("bob", "other", "t A")).unwrap_err();
        assert!(known.to_string().contains("alice's already, as laptop"));
        let known = access.add_key(key("bob", "laptop", "t C")).unwrap_err();
        assert!(known.to_string().contains("another key named laptop"));
        assert!(access.add_key(key("Bob", "x", "t C")).is_err());
        assert!(access.remove_key("alice", "desk").is_err());
        access.remove_key("alice", "laptop").unwrap();
        assert_eq!(access.account_of("t A"), None);
        assert_eq!(access.keys(), [key("bob", "laptop", "t B")]);
    }

    #[test]
    fn grants_add_up() {
        let mut access = Access::default();
        let (one, other) = (repository("alice/hello"), repository("alice/other"));
        let (all, single) = (repository("alice"), repository("hello"));
        for on in [&one, &all] {
            assert_eq!(access.role("alice", on), Some(Role::Owner));
            assert_eq!(access.role("bob", on), None);
        }
        access.grant(&one, "bob", Role::Writer).unwrap();
        assert_eq!(access.role("bob", &one), Some(Role::Writer));
        assert_eq!(access.role("bob", &other), None);
        assert_eq!(access.role("bob", &all), None);
        assert_eq!(access.role("carol", &one), None);
        access.grant(&all, "bob", Role::Reader).unwrap();
        assert_eq!(access.role("bob", &one), Some(Role::Writer));
        assert_eq!(access.role("bob", &other), Some(Role::Reader));
        assert_eq!(access.role("bob", &single), None);
        assert!(!access.may_create("bob", &other));
        access.grant(&all, "bob", Role::Owner).unwrap();
        assert!(access.may_create("bob", &other));
        assert!(access.may_create("alice", &other));
        assert_eq!(access.grants().len(), 2);
        access.grant(&all, "carol", Role::Reader).unwrap();
        access.revoke(&all, "bob").unwrap();
        assert_eq!(access.role("bob", &other), None);
        assert_eq!(access.role("bob", &one), Some(Role::Writer));
        assert_eq!(access.role("carol", &other), Some(Role::Reader));
        assert!(access.revoke(&all, "bob").is_err());
        // To own one repository is not to own what is beside it.
        access.grant(&one, "bob", Role::Owner).unwrap();
        assert!(!access.may_create("bob", &other) && !access.may_create("bob", &one));
        let function = "alice/hello".parse().unwrap();
        assert_eq!(access.role_on("bob", &function), Some(Role::Owner));
    }

    #[test]
    fn one_s_own_is_not_granted() {
        let mut access = Access::default();
        let error = access
            .grant(&repository("alice/hello"), "alice", Role::Reader)
            .unwrap_err();
        assert!(error.to_string().contains("alice's own"), "{error}");
        assert!(
            access
                .grant(&repository("alice"), "B!", Role::Reader)
                .is_err()
        );
    }

    #[test]
    fn file() {
        let mut access = Access::default();
        assert_eq!(access.to_text().unwrap(), "");
        access.add_key(key("alice", "laptop", "t A")).unwrap();
        access
            .grant(&repository("alice/hello"), "bob", Role::Writer)
            .unwrap();
        let text = access.to_text().unwrap();
        assert_eq!(Access::parse("f", &text).unwrap(), access);
        assert!(text.contains("[[key]]") && text.contains("role = \"writer\""));
        for (bad, says) in [
            ("[[key]]\naccount = 'A'\nname = 'n'\nkey = 'k'", "\"A\""),
            (
                "[[grant]]\non = 'a/b/c'\naccount = 'b'\nrole = 'owner'",
                "a/b/c",
            ),
            ("[[grant]]\non = 'a'\naccount = 'b'\nrole = 'god'", "god"),
            (
                "[[grant]]\non = 'a'\naccount = '-'\nrole = 'owner'",
                "\"-\"",
            ),
            ("colour = 1", "colour"),
        ] {
            let error = Access::parse("f", bad).unwrap_err().to_string();
            assert!(error.starts_with("f: ") && error.contains(says), "{error}");
        }
    }
}
