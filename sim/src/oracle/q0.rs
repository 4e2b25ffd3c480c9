//! Q0: at QoS 0 a message arrives at most once.

use crate::history::{Event, Violation};
use crate::oracle::model::{Model, Seen};
use crate::oracle::rule::{Rule, too_often};

/// Judges Q0.
pub(crate) struct AtMostOnce;

impl Rule for AtMostOnce {
    fn look(&mut self, model: &Model, seen: &Seen, _event: &Event) -> Result<(), Violation> {
        let Seen::Delivered(delivery) = seen else { return Ok(()) };
        let delivery = &model.deliveries[*delivery];
        let Some(id) = delivery.publication.filter(|_| delivery.qos == 0) else { return Ok(()) };
        let publication = &model.publications[id];
        let session = &model.sessions[delivery.session];
        let copies: Vec<usize> = model
            .fresh(delivery.session, id)
            .filter(|copy| copy.qos == 0)
            .map(|copy| copy.moment.index)
            .collect();
        let most = session.copies(publication).max(1);
        if copies.len() > most && session.hostile.is_none() {
            let code = if publication.is_will() { "WL" } else { "Q0" };
            return Err(too_often(code, model, publication, delivery, &copies, most));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::AtMostOnce;
    use crate::oracle::told::{Told, fails, passes};

    #[test]
    fn one_copy_for_each_session_is_right() {
        let mut told = Told::new();
        told.connect(1, "a").connect(2, "b").subscribe(2, "t/#", 2).subscribe(2, "t/1", 0);
        told.publish(1, "t/1", "one", 0).read(2, "t/1", "one", 0);
        passes(AtMostOnce, &told);
    }

    #[test]
    fn a_copy_and_a_retained_copy_are_right() {
        let mut told = Told::new();
        told.connect(1, "a").connect(2, "b").subscribe(2, "t/1", 0);
        told.retain(1, "t/1", "one", 0).read(2, "t/1", "one", 0);
        told.subscribe(2, "t/1", 0).read_retained(2, "t/1", "one", 0);
        passes(AtMostOnce, &told);
    }

    #[test]
    fn a_second_copy_is_wrong() {
        let mut told = Told::new();
        told.connect(1, "a").connect(2, "b").subscribe(2, "t/#", 2).subscribe(2, "t/1", 0);
        told.publish(1, "t/1", "one", 0).read(2, "t/1", "one", 0).read(2, "t/1", "one", 0);
        fails(AtMostOnce, &told, "Q0");
    }

    #[test]
    fn a_second_copy_after_a_restart_is_wrong() {
        let mut told = Told::new();
        told.durable(1, "a").durable(2, "b").subscribe(2, "t", 0).publish(1, "t", "one", 0);
        told.read(2, "t", "one", 0).crash().resume(3, "b").read(3, "t", "one", 0);
        fails(AtMostOnce, &told, "Q0");
    }
}
