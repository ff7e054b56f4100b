//! Numbers to begin training with, taken from a network that is trained already.

use featvec_formats::Checkpoint;

use super::Variables;
use crate::train::begins_with;
use crate::{Error, ErrorKind, Result};

/// Where numbers are taken from.
#[derive(Clone, Copy, Debug)]
pub enum Trained<'a> {
    /// Another network of the same variant.
    Variables(&'a Variables),
    /// A checkpoint with the same names, which need not be whole.
    Checkpoint(&'a Checkpoint),
}

/// What is taken.
#[derive(Clone, Debug, Default)]
pub struct BeginFrom {
    /// How the names begin of variables that keep the numbers that they have, with or without the network's scope.
    pub exclude: Vec<String>,
    /// Whether variables that are not there keep the numbers that they have, too.
    pub ignore_missing: bool,
}

impl Trained<'_> {
    /// The shape and numbers of the variable `name`.
    fn read(self, name: &str) -> Result<Option<(Vec<usize>, Vec<f32>)>> {
        match self {
            Trained::Variables(variables) => {
                let mut named = variables.named();
                let found = named.find(|(known, ..)| known == name);
                Ok(found.map(|(_, shape, values)| (shape, values.to_vec())))
            }
            Trained::Checkpoint(checkpoint) => match checkpoint.entry(name) {
                None => Ok(None),
                Some(entry) => {
                    let values = checkpoint.read(name)?.into_f32().map_err(|error| error.within(name))?;
                    Ok(Some((entry.shape.clone(), values)))
                }
            },
        }
    }
}

impl Variables {
    /// Takes the numbers of `trained`, and returns the names of the variables that keep those that they have: the ones
    /// that are excluded or missing, and the classifying layer where it has other classes or is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for a variable that is missing or has another shape; [`ErrorKind::Argument`] for a name
    /// to be excluded that no variable begins with.
    pub fn begin_from(&mut self, trained: Trained<'_>, options: &BeginFrom) -> Result<Vec<String>> {
        let network = self.network;
        let classifying: Vec<String> = {
            let scope = network.variant.scope();
            network.logits().iter().map(|conv| format!("{scope}/{}/", conv.name)).collect()
        };
        let names: Vec<(String, Vec<usize>)> = self.named().map(|(name, shape, _)| (name, shape)).collect();
        for prefix in &options.exclude {
            if !names.iter().any(|(name, _)| begins_with(&network, name, prefix)) {
                let message = format!("no variable's name begins with {prefix:?}, so none can be left out");
                return Err(Error::new(ErrorKind::Argument, "", message)
                    .with_hint("`featvec inspect --all-variables` lists the names"));
            }
        }
        let mut taken = Vec::with_capacity(names.len());
        for (name, shape) in &names {
            let excluded = options.exclude.iter().any(|prefix| begins_with(&network, name, prefix));
            let of_classes = classifying.iter().any(|prefix| name.starts_with(prefix));
            taken.push(match if excluded { None } else { trained.read(name)? } {
                Some((found, values)) if found == *shape => Some(values),
                Some(_) | None if excluded || of_classes => None,
                None if options.ignore_missing => None,
                Some((found, _)) => {
                    let message = format!("its shape is {found:?}; {shape:?} expected");
                    return Err(Error::new(ErrorKind::Mismatch, name, message)
                        .with_hint("the checkpoint is of another network, or --checkpoint-exclude-scopes"));
                }
                None => {
                    return Err(Error::new(ErrorKind::Mismatch, name, "the checkpoint does not have it")
                        .with_hint("--ignore-missing-vars begins it with random numbers"));
                }
            });
        }
        let mut places = names.into_iter().zip(taken);
        let mut kept = Vec::new();
        for index in 0..network.convs().len() + usize::from(network.classes.is_some()) {
            for (_, values) in self.layer_mut(index).named_mut() {
                match places.next() {
                    Some((_, Some(numbers))) => *values = numbers,
                    Some(((name, _), None)) => kept.push(name),
                    None => unreachable!("every variable has a name"),
                }
            }
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Network, Variant};

    fn network(classes: Option<usize>) -> Network {
        Network { variant: Variant::Slim, classes }
    }

    fn differing(a: &Variables, b: &Variables) -> Vec<String> {
        let pairs = a.named().zip(b.named());
        pairs.filter(|((_, _, a), (_, _, b))| a != b).map(|((name, ..), _)| name).collect()
    }

    #[test]
    fn all_but_other_classes_is_taken() {
        let trained = Variables::random(network(Some(7)), 1);
        let from = Trained::Variables(&trained);
        let mut same = Variables::random(network(Some(7)), 2);
        assert!(same.begin_from(from, &BeginFrom::default()).unwrap().is_empty());
        assert!(differing(&same, &trained).is_empty());

        let fresh = Variables::random(network(Some(5)), 2);
        let mut other = fresh.clone();
        let kept = other.begin_from(from, &BeginFrom::default()).unwrap();
        let logits = network(Some(5)).logits().unwrap();
        assert_eq!(kept.len(), 2);
        assert!(kept.iter().all(|name| name.contains(&logits.name)), "{kept:?}");
        assert_eq!(other.logits.unwrap().weights, fresh.logits.unwrap().weights);
    }

    #[test]
    fn what_is_excluded_is_kept() {
        let trained = Variables::random(network(None), 1);
        let first = network(None).convs()[0].name.clone();
        let mut begun = Variables::random(network(None), 2);
        let options = BeginFrom { exclude: vec![first.clone()], ..BeginFrom::default() };
        let kept = begun.begin_from(Trained::Variables(&trained), &options).unwrap();
        assert_eq!(kept.len(), 4);
        assert!(differing(&begun, &trained).iter().all(|name| name.contains(&first)));

        let unknown = BeginFrom { exclude: vec!["Nothing".to_string()], ..BeginFrom::default() };
        let error = begun.begin_from(Trained::Variables(&trained), &unknown).unwrap_err();
        assert!(error.to_string().contains("no variable's name begins with \"Nothing\""), "{error}");
    }

    #[test]
    fn another_variant_has_none_of_the_variables() {
        let trained = Variables::random(Network { variant: Variant::Paper, classes: None }, 1);
        let mut begun = Variables::random(network(None), 2);
        let error = begun.begin_from(Trained::Variables(&trained), &BeginFrom::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert!(error.to_string().contains("--ignore-missing-vars"), "{error}");
        let options = BeginFrom { ignore_missing: true, ..BeginFrom::default() };
        assert_eq!(begun.begin_from(Trained::Variables(&trained), &options).unwrap().len(), 228);
    }
}
