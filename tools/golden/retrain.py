"""Makes what the tests of `featvec retrain` compare with: splits by retrain.py's rule, and optima by scikit-learn.

    pip install numpy scikit-learn && python tools/golden/retrain.py

The rule (TensorFlow's retrain.py, `create_image_lists`): the SHA-1 of the path as globbed, without `_nohash_` and what
follows it, modulo 2^27, scaled to 100.
"""

import hashlib
import json
import pathlib
import re

import numpy
import sklearn
from sklearn.linear_model import LogisticRegression

FIXTURES = pathlib.Path(__file__).parents[2] / "crates/featvec/tests/fixtures"
MOST_IMAGES = 2**27 - 1


def percentage(path):
    digest = hashlib.sha1(re.sub(r"_nohash_.*$", "", path).encode()).hexdigest()
    return (int(digest, 16) % (MOST_IMAGES + 1)) * (100.0 / MOST_IMAGES)


def splits():
    paths = [f"flower_photos/{name}/{i}.jpg" for name in ("daisy", "roses", "tulips") for i in range(100, 130)]
    paths += ["flower_photos/daisy/a_nohash_1.jpg", "flower_photos/daisy/a_nohash_2.jpg"]
    paths += ["/data/räksmörgås/ä.png", "./x/y/z.JPG", "my_nohash_folder/daisy/1.jpg", "flowers//daisy/1.jpg"]
    yield "# path, percentage, split (10 % validation, 10 % testing); made by tools/golden/retrain.py"
    for path in paths:
        at = percentage(path)
        split = "validation" if at < 10 else "test" if at < 20 else "training"
        yield f"{path}\t{at!r}\t{split}"


def optima():
    """Features like those of the network (not negative, some never on, of different sizes), classes of different sizes."""
    random = numpy.random.default_rng(4)
    classes = numpy.repeat([0, 1, 2], [30, 18, 6])
    centres = random.normal(size=(3, 12)) * 1.2
    scales = numpy.geomspace(0.05, 5, 12)
    features = numpy.maximum(0, centres[classes] + random.normal(size=(54, 12)) + 0.5) * scales
    features[:, 5] = 0
    features = features.astype(numpy.float32)
    fits = []
    for strength in (1.0, 0.1, 0.003):
        for balance in (False, True):
            x = features.astype(numpy.float64)
            model = LogisticRegression(
                C=1 / (strength * len(x)),
                class_weight="balanced" if balance else None,
                solver="newton-cg",
                tol=1e-10,
                max_iter=10_000,
            ).fit(x, classes)
            probabilities = model.predict_proba(x)
            weights = len(x) / (3 * numpy.bincount(classes))[classes] if balance else numpy.ones(len(x))
            entropy = -numpy.log(probabilities[numpy.arange(len(x)), classes])
            loss = (weights * entropy).sum() / weights.sum() + strength / 2 * (model.coef_**2).sum()
            fits.append({
                "strength": strength,
                "balance": balance,
                "loss": float(loss),
                "weights": model.coef_.T.tolist(),
                "biases": (model.intercept_ - model.intercept_.mean()).tolist(),
            })
    return {
        "made_by": f"tools/golden/retrain.py, scikit-learn {sklearn.__version__}",
        "features": features.tolist(),
        "classes": classes.tolist(),
        "fits": fits,
    }


(FIXTURES / "split_by_hashlib.tsv").write_text("\n".join(splits()) + "\n")
(FIXTURES / "logistic_regression.json").write_text(json.dumps(optima()) + "\n")
