//! ACLs as zkCli reads and writes them (`AclParser`, `ZKUtil.getPermString`).

use super::console::Console;
use zookeeper_client::{Acl, AuthId, Permission};

const LETTERS: [(char, Permission); 5] = [
    ('c', Permission::CREATE),
    ('d', Permission::DELETE),
    ('r', Permission::READ),
    ('w', Permission::WRITE),
    ('a', Permission::ADMIN),
];

/// Reads `scheme:id:perms[,...]`, split at the first and the last colon. Entries and letters that make no sense are
/// named on stderr and passed over.
pub(super) fn parse(text: &str, console: &Console) -> Vec<Acl> {
    let mut acls = Vec::new();
    for entry in text.split(',') {
        match (entry.find(':'), entry.rfind(':')) {
            (Some(first), Some(last)) if first < last => {
                let id = AuthId::new(&entry[..first], &entry[first + 1..last]);
                acls.push(Acl::new(parse_permission(&entry[last + 1..], console), id));
            }
            _ => console.err(&format!("{entry} does not have the form scheme:id:perm")),
        }
    }
    acls
}

/// One entry on two lines.
pub(super) fn show(acl: &Acl) -> String {
    let letters: String =
        LETTERS.iter().filter(|(_, bit)| acl.permission().has(*bit)).map(|(letter, _)| letter).collect();
    format!("'{},'{}\n: {letters}", acl.scheme(), acl.id())
}

fn parse_permission(letters: &str, console: &Console) -> Permission {
    let mut permission = Permission::NONE;
    for letter in letters.chars() {
        match LETTERS.iter().find(|(known, _)| *known == letter) {
            Some((_, bit)) => permission = permission | *bit,
            None => console.err(&format!("Unknown perm type: {letter}")),
        }
    }
    permission
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_split_at_the_outer_colons() {
        let console = Console::captured();
        let acls = parse("world:anyone:cdrwa,digest:bob:x:y=:r,ip:::1:z,bad", &console);
        let shown: Vec<String> = acls.iter().map(show).collect();
        assert_eq!(shown, ["'world,'anyone\n: cdrwa", "'digest,'bob:x:y=\n: r", "'ip,'::1\n: "]);
        assert_eq!(console.taken_err(), "Unknown perm type: z\nbad does not have the form scheme:id:perm\n");
    }
}
