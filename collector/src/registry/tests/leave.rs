//! The part of the suite about leave: revocation, being let in again, and taking the place of others.

use super::*;

#[tokio::test]
async fn a_revoked_host_renews_no_more_and_joins_only_with_leave() {
    for (_folder, _, registry) in registries().await {
        let (token, _) = create(&*registry, asked(9)).await;
        join(&*registry, joining(token, "web-1")).await.unwrap();
        let done = Revoked { changed: true, only_others: false };
        assert_eq!(revoke(&*registry, "web-1").await, done);
        let line = by(Event::AgentRevoked, "fleetmark://agent/web-1");
        assert_eq!(last(&*registry).await, line);
        let lines = registry.audit(None).await.unwrap().len();
        assert_eq!(revoke(&*registry, "web-1").await, Revoked { changed: false, ..done });
        assert_eq!(registry.audit(None).await.unwrap().len(), lines, "nothing was done");
        let agents = registry.agents().await.unwrap();
        assert_eq!(agents[0].revoked_at, Some(now()));

        let refused = Err(Refused::RevokedHost(host("web-1")));
        assert_eq!(renew(&*registry, "web-1", key("web-1"), now() + 1.hour()).await, refused);
        assert_eq!(registry.audit(None).await.unwrap().len(), lines, "nor was this");
        let again = Joining { key: key("new"), ..joining(token, "web-1") };
        assert_eq!(join(&*registry, again.clone()).await, refused);
        let leave = NewToken { replace_host: Some(host("web-1")), ..asked(1) };
        let (leave, _) = create(&*registry, leave).await;
        let agent = join(&*registry, Joining { token: leave, ..again }).await.unwrap();
        assert_eq!(agent.revoked_at, None);
        renew(&*registry, "web-1", key("new"), now() + 1.hour()).await.unwrap();
    }
}

#[tokio::test]
async fn whoever_was_never_here_is_revoked_and_let_in_again() {
    for (_folder, url, registry) in registries().await {
        let done = Revoked { changed: true, only_others: true };
        let nothing = Revoked { changed: false, ..done };
        for uri in ["fleetmark://agent/x", "fleetmark://reader/x", "fleetmark://operator/x"] {
            let subject: Subject = uri.parse().unwrap();
            assert_eq!(revoke_as(&*registry, uri, true).await, nothing);
            assert_eq!(revoke_as(&*registry, uri, false).await, done);
            assert_eq!(revoke_as(&*registry, uri, false).await, nothing);
            let (_, again) = store::open_both(&url, Mode::Read).await.unwrap();
            let revoked = again.standing().await.unwrap().revoked;
            assert_eq!(revoked, HashSet::from([subject]), "of this name, this role alone");
            assert_eq!(revoke_as(&*registry, uri, true).await, done);
            assert!(registry.standing().await.unwrap().revoked.is_empty());
        }
        assert_eq!(registry.audit(None).await.unwrap().len(), 6, "of what was done");
        assert_eq!(registry.agents().await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_host_that_joins_again_does_not_let_in_what_others_issued_for_it() {
    for (_folder, _, registry) in registries().await {
        let x: Subject = "fleetmark://agent/x".parse().unwrap();
        revoke(&*registry, "x").await;
        let leave = NewToken { replace_host: Some(host("x")), ..asked(1) };
        let (leave, _) = create(&*registry, leave).await;
        let agent = join(&*registry, joining(leave, "x")).await.unwrap();
        assert_eq!(agent.revoked_at, None);
        let standing = registry.standing().await.unwrap();
        assert_eq!(
            (standing.agents[&host("x")].is_revoked, standing.revoked.contains(&x)),
            (false, true)
        );
        // It is revoked again, and what it has here comes back with the rest.
        let done = Revoked { changed: true, only_others: false };
        assert_eq!(revoke(&*registry, "x").await, done);
        assert_eq!(revoke_as(&*registry, "fleetmark://agent/x", true).await, done);
        let standing = registry.standing().await.unwrap();
        assert_eq!((standing.agents[&host("x")].is_revoked, standing.revoked.len()), (false, 0));
        renew(&*registry, "x", key("x"), now() + 1.hour()).await.unwrap();
    }
}

#[tokio::test]
async fn the_tokens_of_an_agent_are_revoked_with_it_for_good() {
    for (_folder, _, registry) in registries().await {
        let of = |id| NewToken { host: Some(host(id)), ..asked(0) };
        let (gone, _) = create(&*registry, of("x")).await;
        let (other, _) = create(&*registry, of("y")).await;
        let done = Revoked { changed: true, only_others: false };
        assert_eq!(revoke(&*registry, "x").await, done);
        assert_eq!(revoke_as(&*registry, "fleetmark://agent/x", true).await, done);
        let (new, _) = create(&*registry, of("x")).await;
        let bearers = registry.standing().await.unwrap().bearers;
        let revoked = [gone, other, new].map(|token| bearers[&token].is_revoked);
        assert_eq!(revoked, [true, false, false]);
    }
}

#[tokio::test]
async fn who_is_known_by_other_means_is_replaced_with_leave_only() {
    for (_folder, url, registry) in registries().await {
        let store = store::open(&url, Mode::Change).await.unwrap();
        let run = |host| {
            let report = testing::report(host, &[1]);
            NewRun::new(Encoded::new(&report), &report, Clocks::new(report.ended_at, None))
        };
        let runs = [run("by-certificate").proven(), run("by-place")].map(Arc::new);
        store.put(runs.into()).await.unwrap();
        let of = NewToken { host: Some(host("by-token")), ..asked(0) };
        let (bearer, _) = create(&*registry, of).await;

        let (fine, _) = create(&*registry, asked(9)).await;
        for known in ["by-certificate", "by-token"] {
            let refused = join(&*registry, joining(fine, known)).await;
            assert_eq!(refused, Err(Refused::KnownHost(host(known))));
        }
        join(&*registry, joining(fine, "by-place")).await.unwrap();
        assert_eq!(last(&*registry).await.event, Event::Enrolled, "nobody had proved to be it");
        for known in ["by-certificate", "by-token"] {
            let leave = NewToken { replace_host: Some(host(known)), ..asked(1) };
            let (leave, _) = create(&*registry, leave).await;
            join(&*registry, joining(leave, known)).await.unwrap();
            assert_eq!(last(&*registry).await.event, Event::Replaced, "{known}");
        }
        let bearers = registry.standing().await.unwrap().bearers;
        assert!(bearers[&bearer].is_revoked, "another has taken its place");
    }
}
