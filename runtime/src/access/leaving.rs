//! Connections that are gone before their question is answered: nothing of them is kept, for nobody
//! would take it out again.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use bytes::Bytes;
use signalhouse_core::input::AuthOutcome;
use signalhouse_core::wire::types::{Text, Version};
use signalhouse_core::{ConnectionId, ExchangeStep, Question, Time};

use super::texts::Texts;
use super::{Access, Bounds, Issuer, Known};
use crate::seams::{Authenticate, Caller, TokioClock};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
const NOW_S: u64 = 1_000;

fn access() -> Rc<Access<TokioClock>> {
    let texts = Texts { passwords: Some(""), token_secret: Some(SECRET), ..Texts::default() };
    let known = Known::from_texts(&texts).expect("right texts");
    let bounds = Bounds { password_threads: 1, waiting_logins: 1 };
    Rc::new(Access::new(TokioClock::starting_at(Time::from_ms(NOW_S * 1_000)), known, bounds))
}

fn questions() -> [Question; 2] {
    let text = |text| Text::try_from(text).expect("a short text");
    let token = Issuer::new(SECRET.into(), "", "", "sub").issue("ann", NOW_S + 600, None);
    [
        Question::Credentials {
            client_id: text("c"),
            version: Version::V5,
            user_name: None,
            password: Some(token.expect("a signature").into()),
        },
        // Nobody knows this user, who is answered all the same.
        Question::Exchange {
            client_id: text("c"),
            method: text("SCRAM-SHA-256"),
            data: Some(Bytes::from_static(b"n,,n=eve,r=nonce")),
            step: ExchangeStep::Connect,
        },
    ]
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_a_connection_that_is_gone_before_the_answer() {
    let access = access();
    for (index, question) in (0..).zip(questions()) {
        let connection = ConnectionId { index, generation: 1 };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let caller = Caller { connection, address, certificate: None };
        for leaves in [false, true] {
            let answer = Rc::clone(&access).answer(caller.clone(), question.clone());
            if leaves {
                access.forget(connection);
            }
            let outcome = answer.await;
            assert!(!matches!(outcome, AuthOutcome::Refused { .. }), "{outcome:?}");
            let kept = format!("{:?} {:?}", access.guests.borrow(), access.exchanges.borrow());
            assert_eq!(kept.contains("ConnectionId"), !leaves, "{kept}");
            access.forget(connection);
        }
    }
}
