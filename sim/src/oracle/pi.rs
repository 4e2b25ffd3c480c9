//! PI: a packet identifier is not 0, and stands for one thing at a time.

use crate::history::{Event, Violation, What};
use crate::oracle::model::{Connection, Model, Seen, Stage};
use crate::oracle::rule::{Rule, violation};
use crate::packet::Packet;

/// Judges PI.
pub(crate) struct Identifiers;

impl Rule for Identifiers {
    fn look(&mut self, model: &Model, seen: &Seen, event: &Event) -> Result<(), Violation> {
        let What::Received { connection, packet: Packet::Publish(publish), .. } = &event.what
        else {
            return Ok(());
        };
        let Some(connection) = model.connections.get(connection) else { return Ok(()) };
        if connection.misbehaved.is_none() && publish.qos > 0 && publish.id.unwrap_or(0) == 0 {
            let what = format!(
                "client {:?} read a PUBLISH at QoS {} without a packet identifier",
                connection.client_id, publish.qos
            );
            return Err(violation("PI", what, [model.now.index]));
        }
        let Seen::Delivered(delivery) = seen else { return Ok(()) };
        self.reused(model, connection, *delivery)
    }
}

impl Identifiers {
    fn reused(
        &self,
        model: &Model,
        connection: &Connection,
        delivery: usize,
    ) -> Result<(), Violation> {
        let delivery = &model.deliveries[delivery];
        let session = &model.sessions[delivery.session];
        let Some(before) = &delivery.replaced else { return Ok(()) };
        let is_in_use = match before.stage {
            Stage::Read | Stage::Recorded(_) | Stage::Released(_) => true,
            Stage::Refused(_) | Stage::Done(_) => false,
        };
        let is_other = before.publication != delivery.publication
            || before.publication.is_none() && before.connection == delivery.connection;
        // A crash may undo that a message at QoS 1 was given its identifier, though the client reads
        // it only afterwards.
        let gone = model.connections.get(&before.connection).and_then(|one| one.broker_gone);
        let is_undone = before.qos == 1
            && gone.is_some_and(|gone| {
                let mut crashes = model.outages.iter().filter(|outage| outage.stopped == gone);
                crashes.any(|outage| outage.durable_before_ms < gone.at_ms)
            });
        if is_in_use && is_other && !is_undone && session.hostile.is_none() {
            let what = format!(
                "packet identifier {} stands for {:?} on {:?} to {:?}, although {:?} is not over",
                delivery.id.unwrap_or(0),
                String::from_utf8_lossy(&delivery.payload),
                delivery.topic,
                connection.client_id,
                String::from_utf8_lossy(&before.token),
            );
            return Err(violation("PI", what, [before.first.index, delivery.moment.index]));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Identifiers;
    use crate::history::What;
    use crate::oracle::told::{Told, fails, passes};
    use crate::plan::BrokerFault;

    fn two(qos: u8) -> Told {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 2);
        told.publish(1, "t", "one", qos).publish(1, "t", "two", qos);
        told
    }

    #[test]
    fn an_identifier_that_a_power_cut_took_back_may_stand_for_another() {
        let mut told = two(1);
        told.push(What::Broker(BrokerFault::PowerCut)).read_only(2, "t", "one", 1, 7);
        told.push(What::Ended { connection: 2, by_client: false });
        told.push(What::Broker(BrokerFault::Start)).resume(3, "b").read_only(3, "t", "two", 1, 7);
        passes(Identifiers, &told);
    }

    #[test]
    fn an_identifier_is_free_when_its_exchange_is_over() {
        let mut told = two(2);
        told.read_only(2, "t", "one", 2, 7).pubrec(2, 7).release(2, 7);
        told.read_only(2, "t", "two", 2, 7);
        passes(Identifiers, &told);
    }

    #[test]
    fn a_crash_may_forget_identifiers_at_qos_1() {
        let mut told = two(1);
        told.read_only(2, "t", "one", 1, 7).crash().resume(3, "b");
        told.read_again(3, "t", "one", 1, 8).read_again(3, "t", "two", 1, 7);
        passes(Identifiers, &told);
    }

    #[test]
    fn a_shares_clear_leaves_its_identifier_with_its_connection() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "$share/g/t", 1);
        told.publish(1, "t", "", 1).read_only(2, "t", "", 1, 7);
        told.publish(1, "t", "one", 1).lose(2).resume(3, "b").read_only(3, "t", "one", 1, 7);
        passes(Identifiers, &told);
    }

    #[test]
    fn a_clear_that_is_not_shared_keeps_its_identifier() {
        let mut told = two(1);
        told.publish(1, "t", "", 1).read_only(2, "t", "", 1, 7);
        told.lose(2).resume(3, "b").read_only(3, "t", "two", 1, 7);
        fails(Identifiers, &told, "PI");
    }

    #[test]
    fn an_identifier_before_pubcomp_is_not_free() {
        let mut told = two(2);
        told.read_only(2, "t", "one", 2, 7).pubrec(2, 7).read_only(2, "t", "two", 2, 7);
        fails(Identifiers, &told, "PI");
    }

    #[test]
    fn an_identifier_stays_taken_over_a_reconnect() {
        let mut told = two(2);
        told.read_only(2, "t", "one", 2, 7).lose(2).resume(3, "b").read_only(3, "t", "two", 2, 7);
        fails(Identifiers, &told, "PI");
    }

    #[test]
    fn identifier_0_is_wrong() {
        let mut told = two(1);
        told.read_only(2, "t", "one", 1, 0);
        fails(Identifiers, &told, "PI");
    }
}
