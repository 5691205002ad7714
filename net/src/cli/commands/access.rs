//! addauth, getAcl, setAcl, whoami.

use super::super::line::{Flag, Options, flag, valued};
use super::super::{acl_text, error, path};
use super::{CliError, Command, Context, about, reading, usage};

/// A command about who may do what.
#[derive(Clone, PartialEq, Debug)]
pub(in super::super) enum Access {
    AddAuth { scheme: String, auth: Option<String> },
    GetAcl { path: String, with_stat: bool },
    SetAcl { path: String, acl: String, version: Option<i32>, recurse: bool, with_stat: bool },
    WhoAmI,
}

pub(super) fn parse_addauth(words: &[String]) -> Result<Command, CliError> {
    let options = Options::parse(words, &[])?;
    let [_, scheme, rest @ ..] = options.arguments.as_slice() else { return Err(usage("addauth")) };
    Ok(Command::Access(Access::AddAuth { scheme: scheme.clone(), auth: rest.first().cloned() }))
}

pub(super) fn parse_get_acl(words: &[String]) -> Result<Command, CliError> {
    let options = Options::parse(words, &[flag("s")])?;
    let [_, path, ..] = options.arguments.as_slice() else { return Err(usage("getAcl")) };
    path::validate(path)?;
    Ok(Command::Access(Access::GetAcl { path: path.clone(), with_stat: options.has("s") }))
}

pub(super) fn parse_set_acl(words: &[String]) -> Result<Command, CliError> {
    const FLAGS: &[Flag] = &[flag("s"), valued("v"), flag("R")];
    let options = Options::parse(words, FLAGS)?;
    let [_, path, acl, ..] = options.arguments.as_slice() else { return Err(usage("setAcl")) };
    let version = options.number("v", "-v argument must be an int value")?;
    path::validate(path)?;
    Ok(Command::Access(Access::SetAcl {
        path: path.clone(),
        acl: acl.clone(),
        version,
        recurse: options.has("R"),
        with_stat: options.has("s"),
    }))
}

pub(super) fn parse_whoami(_: &[String]) -> Result<Command, CliError> {
    Ok(Command::Access(Access::WhoAmI))
}

impl Access {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), CliError> {
        match self {
            Access::AddAuth { scheme, auth } => {
                let client = context.client("").await?;
                client.auth(scheme, auth.as_deref().unwrap_or_default().as_bytes()).await.map_err(about(""))
            }
            Access::GetAcl { path, with_stat } => {
                let (acls, stat) = context.client(path).await?.get_acl(path).await.map_err(about(path))?;
                acls.iter().for_each(|acl| context.console.out(&acl_text::show(acl)));
                if *with_stat {
                    context.stat(&stat);
                }
                Ok(())
            }
            Access::SetAcl { path, acl, version, recurse, with_stat } => {
                let acls = acl_text::parse(acl, context.console);
                let client = context.client(path).await?;
                if !*recurse {
                    let stat = client.set_acl(path, &acls, *version).await.map_err(about(path))?;
                    if *with_stat {
                        context.stat(&stat);
                    }
                    return Ok(());
                }
                client.get_data(path).await.map_err(about(path))?;
                let set = async |path: &str| {
                    if let Err(failure) = client.set_acl(path, &acls, *version).await {
                        context.console.out(&error::keeper_message(&failure, path));
                    }
                };
                set(path).await;
                reading::visit_tree(context, &client, path, false, set).await
            }
            Access::WhoAmI => {
                let users = context.client("").await?.list_auth_users().await.map_err(about(""))?;
                context.console.out("Auth scheme: User");
                users.iter().for_each(|user| context.console.out(&format!("{}: {}", user.scheme(), user.user())));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{error, parse};
    use super::*;

    #[test]
    fn words_become_wishes() {
        let expected = Access::SetAcl {
            path: "/a".into(),
            acl: "world:anyone:r".into(),
            version: Some(3),
            recurse: true,
            with_stat: false,
        };
        assert_eq!(parse("setAcl -R -v 3 /a world:anyone:r").unwrap(), Command::Access(expected));
        let expected = Access::AddAuth { scheme: "digest".into(), auth: None };
        assert_eq!(parse("addauth digest").unwrap(), Command::Access(expected));
        assert_eq!(error("setAcl -v x /a b"), "-v argument must be an int value");
        assert_eq!(error("getAcl //"), "Path must not end with / character");
        assert_eq!(parse("whoami now").unwrap(), Command::Access(Access::WhoAmI));
    }
}
