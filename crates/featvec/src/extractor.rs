//! Runs a network: one set of variables, one team of threads, a plan for each size and set of outputs asked for.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use featvec_kernels::{Kernels, StepInfo, Team, Workspace};

use crate::calibration::{Calibration, builtin_pictures};
use crate::plan::{Mode, Plan, Precision, Request, Value};
use crate::tensor::{Tensor, first_not_finite};
use crate::variables::Variables;
use crate::{Error, ErrorKind, Result};

/// How a network runs. What it computes is the same for any number of threads, and all but the same for any instruction
/// set.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Threads to use; none means as many as the process may run at once (cgroup limits and affinity respected).
    pub threads: Option<NonZeroUsize>,
    /// The instruction set by name ([`Kernels::name`]); none means the fastest present.
    pub isa: Option<String>,
    /// What it computes in.
    pub precision: Precision,
}

/// A network ready to run. It can be shared between threads; runs take turns, but those of a [fork] go on at the same
/// time.
///
/// [fork]: FeatureExtractor::fork
pub struct FeatureExtractor {
    network: Arc<Prepared>,
    team: Team,
    workspace: Mutex<Workspace>,
}

/// What an extractor has in common with its forks.
struct Prepared {
    variables: Variables,
    kernels: &'static Kernels,
    precision: Precision,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    plans: HashMap<(Precision, Request), Arc<Plan>>,
    calibration: Option<Arc<Calibration>>,
}

/// The arenas of one run: a batch of 500 with statistics of the batch, or one picture of 16 megapixels on each of two
/// threads.
const MAX_WORKSPACE_BYTES: usize = 8 << 30;

/// More than any machine has cores; far more would exhaust what the system gives a process.
const MAX_THREADS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Plans hold the packed filters (some 45 MB), so only a few are kept.
const MAX_PLANS: usize = 4;

impl FeatureExtractor {
    /// Makes ready to run the network that `variables` belong to.
    ///
    /// # Errors
    /// Numbers that do not fit the network; an instruction set that this processor does not have; no threads to be had from the operating system.
    pub fn new(variables: Variables, options: &RunOptions) -> Result<FeatureExtractor> {
        variables.check()?;
        let kernels = match &options.isa {
            None => Kernels::best(),
            Some(isa) => Kernels::present().find(|kernels| kernels.name() == isa).ok_or_else(|| {
                let present: Vec<_> = Kernels::present().map(Kernels::name).collect();
                let message = format!("this processor has no instruction set `{isa}`");
                Error::new(ErrorKind::Argument, "", message)
                    .with_hint(format!("present: {}", present.join(", ")))
            })?,
        };
        let threads = match options.threads {
            Some(threads) => threads,
            None => {
                std::thread::available_parallelism().map_or(NonZeroUsize::MIN, |cores| cores.min(MAX_THREADS))
            }
        };
        if threads > MAX_THREADS {
            let message = format!("{threads} threads are more than {MAX_THREADS}");
            return Err(
                Error::new(ErrorKind::Argument, "", message).with_hint("by default all cores are used")
            );
        }
        let precision = options.precision;
        let network = Prepared { variables, kernels, precision, state: Mutex::default() };
        FeatureExtractor::on(Arc::new(network), threads)
    }

    fn on(network: Arc<Prepared>, threads: NonZeroUsize) -> Result<FeatureExtractor> {
        let team = Team::new(threads).map_err(|error| Error::io("starting threads", error))?;
        Ok(FeatureExtractor { network, team, workspace: Mutex::default() })
    }

    /// The same network with `threads` threads and working memory of its own: it runs while this one runs. Variables,
    /// packed filters and the calibration exist once.
    ///
    /// # Errors
    /// No threads to be had from the operating system.
    pub fn fork(&self, threads: NonZeroUsize) -> Result<FeatureExtractor> {
        FeatureExtractor::on(Arc::clone(&self.network), threads)
    }

    /// The network's trained numbers.
    pub fn variables(&self) -> &Variables {
        &self.network.variables
    }

    /// The kernels in use.
    pub fn kernels(&self) -> &'static Kernels {
        self.network.kernels
    }

    /// The name of the micro-kernel that convolutions run on.
    pub fn tile_name(&self) -> &'static str {
        match self.precision() {
            Precision::F32 => self.kernels().tile_name(),
            Precision::Int8 => self.kernels().byte_tile_name(),
        }
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        self.team.members()
    }

    /// What it computes in.
    pub fn precision(&self) -> Precision {
        self.network.precision
    }

    /// Sets what the bytes of [`Precision::Int8`] stand for, here and in forks; without, it is
    /// [measured](Calibration::measure) on built-in pictures by the first run.
    pub fn calibrate(&self, calibration: Calibration) {
        let mut state = self.network.state();
        state.calibration = Some(Arc::new(calibration));
        // Those of another calibration, and the one that measured, of no further use.
        state.plans.clear();
    }

    /// What the bytes of [`Precision::Int8`] stand for, once that is known.
    pub fn calibration(&self) -> Option<Arc<Calibration>> {
        self.network.state().calibration.clone()
    }

    /// Computes `outputs` for `images`, `[n, h, w, 3]` in [0, 1], red first: each output is `[n, ...]`, in the order
    /// asked for. The bits of a row depend on that row alone (with [`Mode::BatchStatistics`]: on the whole batch), not
    /// on the number of threads.
    ///
    /// # Errors
    /// Images of another shape, or with values that are no numbers; a size or an output that cannot be had (see
    /// [`Plan::new`]).
    pub fn run(&self, images: &Tensor, mode: Mode, outputs: &[Value]) -> Result<Vec<Tensor>> {
        self.run_in(self.precision(), images, mode, outputs)
    }

    pub(crate) fn run_in(
        &self,
        precision: Precision,
        images: &Tensor,
        mode: Mode,
        outputs: &[Value],
    ) -> Result<Vec<Tensor>> {
        let plan = self.plan(&(precision, request(images, mode, outputs)?))?;
        self.run_plan(&plan, &mut self.workspace(), images, outputs)
    }

    /// How long each step of a [`run`](FeatureExtractor::run) takes, for all images of the first thread together.
    ///
    /// # Errors
    /// Those of [`run`](FeatureExtractor::run).
    pub fn time_steps(
        &self,
        images: &Tensor,
        mode: Mode,
        outputs: &[Value],
    ) -> Result<Vec<(StepInfo, Duration)>> {
        let plan = self.plan(&(self.precision(), request(images, mode, outputs)?))?;
        let mut workspace = self.workspace();
        workspace.time_steps(true);
        let result = self.run_plan(&plan, &mut workspace, images, outputs);
        workspace.time_steps(false);
        result?;
        Ok(plan.program.steps().iter().cloned().zip(workspace.step_times()).collect())
    }

    /// What the processor can do at all: operations a second, by the threads and the instruction set in use, while
    /// nothing but multiply-adds are computed for `duration`.
    pub fn peak_flops(&self, duration: Duration) -> f64 {
        self.kernels().peak_flops(&self.team, duration)
    }

    fn run_plan(
        &self,
        plan: &Plan,
        workspace: &mut Workspace,
        images: &Tensor,
        outputs: &[Value],
    ) -> Result<Vec<Tensor>> {
        let n = images.rows();
        let bytes = plan.program.workspace_bytes(n, self.threads());
        if bytes.is_none_or(|bytes| bytes > MAX_WORKSPACE_BYTES) {
            let [h, w] = plan.request.size;
            let message =
                format!("{n} pictures of {h}x{w} pixels on {} threads take too much memory", self.threads());
            return Err(Error::new(ErrorKind::Limit, "", message).with_hint("give fewer or smaller pictures"));
        }
        let mut results: Vec<Tensor> =
            plan.output_shapes.iter().map(|shape| Tensor::zeros([&[n], shape.as_slice()].concat())).collect();
        let mut buffers: Vec<&mut [f32]> = results.iter_mut().map(Tensor::data_mut).collect();
        plan.program.run(&self.team, workspace, images.data(), &mut buffers);
        let place = |value| plan.request.outputs.binary_search(value).expect("every output was requested");
        let mut results: Vec<Option<Tensor>> = results.into_iter().map(Some).collect();
        let mut given: Vec<Tensor> = Vec::with_capacity(outputs.len());
        for (index, value) in outputs.iter().enumerate() {
            // A value asked for twice is copied from where it went first.
            let tensor = results[place(value)].take().unwrap_or_else(|| {
                let first = outputs[..index].iter().position(|other| other == value);
                given[first.expect("taken by an output before")].clone()
            });
            given.push(tensor);
        }
        Ok(given)
    }

    /// The plan for `key`, made by whoever asks first while other forks wait for it.
    fn plan(&self, key: &(Precision, Request)) -> Result<Arc<Plan>> {
        let mut state = self.state_for(key.0)?;
        if let Some(plan) = state.plans.get(key) {
            return Ok(Arc::clone(plan));
        }
        let calibration = state.calibration.clone().filter(|_| key.0 == Precision::Int8);
        let threads = NonZeroUsize::new(self.threads()).unwrap_or(NonZeroUsize::MIN);
        let workers = (self.kernels(), threads);
        let plan = Arc::new(Plan::new(self.variables(), &key.1, workers, calibration.as_deref())?);
        if state.plans.len() >= MAX_PLANS {
            state.plans.clear();
        }
        state.plans.insert(key.clone(), Arc::clone(&plan));
        Ok(plan)
    }

    fn workspace(&self) -> MutexGuard<'_, Workspace> {
        self.workspace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, with a calibration where one is needed: measured on built-in pictures where nobody has said.
    fn state_for(&self, precision: Precision) -> Result<MutexGuard<'_, State>> {
        let state = self.network.state();
        if precision == Precision::F32 || state.calibration.is_some() {
            return Ok(state);
        }
        drop(state); // measuring runs the network
        let builtin = Arc::new(Calibration::measure(self, &builtin_pictures())?);
        let mut state = self.network.state();
        state.calibration.get_or_insert(builtin);
        Ok(state)
    }
}

impl Prepared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is asked for, once the images are found to be images.
fn request(images: &Tensor, mode: Mode, outputs: &[Value]) -> Result<Request> {
    let &[_, h, w, 3] = images.shape() else {
        let message = format!("images are [n, height, width, 3], not {:?}", images.shape());
        return Err(Error::new(ErrorKind::Mismatch, "", message));
    };
    if let Some(index) = first_not_finite(images.data()) {
        let message = format!("element {index} of the images is {}", images.data()[index]);
        return Err(Error::new(ErrorKind::Argument, "", message));
    }
    let mut wanted = outputs.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    Ok(Request { size: [h, w], mode, outputs: wanted })
}
