//! ACL fix-up on create and setACL (`PrepRequestProcessor.fixupACL`).

use crate::request::AclEntry;
use engine::acl::{Acl, AclList, Identity, parse_network};
use engine::error_code::ErrorCode;

/// Authentication schemes that ACLs may name besides `world` and `auth`. `ip` always is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schemes {
    /// `digest`: on unless `zookeeper.DigestAuthenticationProvider.enabled=false`.
    pub digest: bool,
}

impl Default for Schemes {
    fn default() -> Self {
        Schemes { digest: true }
    }
}

impl Schemes {
    /// Whether a credential of this scheme is what `auth` stands for.
    fn authenticates(self, scheme: &str) -> bool {
        self.digest && scheme == "digest"
    }

    /// Whether the scheme is registered and the id is one of its.
    fn is_valid(self, scheme: &str, id: Option<&str>) -> Result<bool, ErrorCode> {
        // An id that is null trips the provider: the request fails as one that could not be decoded.
        let id = || id.ok_or(ErrorCode::MarshallingError);
        Ok(match scheme {
            "ip" => parse_network(id()?).is_some(),
            "digest" if self.digest => is_digest(id()?),
            _ => false,
        })
    }
}

/// The list that a request's list stands for: duplicates dropped, `auth` expanded to the caller's credentials. Wrong
/// lists are INVALIDACL; a null id in a scheme that looks at it is MARSHALLINGERROR.
pub fn fix(list: Option<&[AclEntry]>, identity: &Identity, schemes: Schemes) -> Result<AclList, ErrorCode> {
    let list = list.unwrap_or_default();
    if list.is_empty() {
        return Err(ErrorCode::InvalidAcl);
    }
    let mut fixed = Vec::with_capacity(list.len());
    for (at, entry) in list.iter().enumerate() {
        if list[..at].contains(entry) {
            continue;
        }
        let scheme = entry.scheme.as_deref().ok_or(ErrorCode::InvalidAcl)?;
        let id = entry.id.as_deref();
        match scheme {
            "world" if id.ok_or(ErrorCode::MarshallingError)? == "anyone" => fixed.push(Acl::world(entry.perms)),
            "auth" => {
                let before = fixed.len();
                let credentials = identity.credentials().iter().filter(|own| schemes.authenticates(&own.scheme));
                fixed.extend(credentials.map(|own| Acl::new(entry.perms, &own.scheme, &own.id)));
                if fixed.len() == before {
                    return Err(ErrorCode::InvalidAcl);
                }
            }
            _ if schemes.is_valid(scheme, id)? => fixed.push(Acl::new(entry.perms, scheme, id.unwrap_or_default())),
            _ => return Err(ErrorCode::InvalidAcl),
        }
    }
    Ok(fixed.into())
}

/// `user:hash`: split at the colons, empty parts at the end dropped, exactly two parts are left.
fn is_digest(id: &str) -> bool {
    id.trim_end_matches(':').split(':').count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(perms: i32, scheme: Option<&str>, id: Option<&str>) -> AclEntry {
        AclEntry { perms, scheme: scheme.map(Into::into), id: id.map(Into::into) }
    }

    fn fix_one(scheme: Option<&str>, id: Option<&str>) -> Result<AclList, ErrorCode> {
        fix(Some(&[entry(31, scheme, id)]), &Identity::anonymous(), Schemes::default())
    }

    #[test]
    fn empty_lists_and_null_schemes_are_invalid() {
        let anonymous = Identity::anonymous();
        assert_eq!(fix(None, &anonymous, Schemes::default()), Err(ErrorCode::InvalidAcl));
        assert_eq!(fix(Some(&[]), &anonymous, Schemes::default()), Err(ErrorCode::InvalidAcl));
        assert_eq!(fix_one(None, Some("anyone")), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn world_knows_anyone_only() {
        assert_eq!(fix_one(Some("world"), Some("anyone")), Ok([Acl::world(31)].into()));
        assert_eq!(fix_one(Some("world"), Some("someone")), Err(ErrorCode::InvalidAcl));
        assert_eq!(fix_one(Some("world"), None), Err(ErrorCode::MarshallingError));
    }

    #[test]
    fn digest_ids_have_two_parts() {
        for good in ["a:b", ":b", "a:b::"] {
            assert!(fix_one(Some("digest"), Some(good)).is_ok(), "{good}");
        }
        for bad in ["abc", "a:", "a:b:c", ":", ""] {
            assert_eq!(fix_one(Some("digest"), Some(bad)), Err(ErrorCode::InvalidAcl), "{bad}");
        }
        assert_eq!(fix_one(Some("digest"), None), Err(ErrorCode::MarshallingError));
        let off = Schemes { digest: false };
        let list = [entry(31, Some("digest"), Some("a:b"))];
        assert_eq!(fix(Some(&list), &Identity::anonymous(), off), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn addresses_must_parse_and_other_schemes_are_unknown() {
        assert!(fix_one(Some("ip"), Some("10.0.0.0/8")).is_ok());
        assert!(fix_one(Some("ip"), Some("::1")).is_ok());
        assert_eq!(fix_one(Some("ip"), Some("localhost")), Err(ErrorCode::InvalidAcl));
        for unknown in ["sasl", "x509", "super", "nonsense"] {
            assert_eq!(fix_one(Some(unknown), Some("a")), Err(ErrorCode::InvalidAcl));
            assert_eq!(fix_one(Some(unknown), None), Err(ErrorCode::InvalidAcl));
        }
    }

    #[test]
    fn auth_expands_to_all_credentials_but_the_address() {
        let mut identity = Identity::anonymous();
        identity.add("ip", "127.0.0.1");
        let auth = [entry(3, Some("auth"), None)];
        assert_eq!(fix(Some(&auth), &identity, Schemes::default()), Err(ErrorCode::InvalidAcl));
        identity.add("digest", "a:b");
        identity.add("super", "");
        identity.add("digest", "c:d");
        let expanded: AclList = [Acl::new(3, "digest", "a:b"), Acl::new(3, "digest", "c:d")].into();
        assert_eq!(fix(Some(&auth), &identity, Schemes::default()), Ok(expanded));
    }

    #[test]
    fn duplicates_go_before_the_expansion_only() {
        let mut identity = Identity::anonymous();
        identity.add("digest", "a:b");
        let world = entry(31, Some("world"), Some("anyone"));
        let own = entry(31, Some("digest"), Some("a:b"));
        let list = [world.clone(), world, own, entry(31, Some("auth"), None), entry(1, Some("world"), Some("anyone"))];
        let expected: AclList =
            [Acl::world(31), Acl::new(31, "digest", "a:b"), Acl::new(31, "digest", "a:b"), Acl::world(1)].into();
        assert_eq!(fix(Some(&list), &identity, Schemes::default()), Ok(expected));
    }
}
