"""README.md of an artifact folder: a model card with Hugging Face front matter, and how to load it in each tool."""

from __future__ import annotations

import yaml

from likeness_runtime.export.file import File
from likeness_runtime.export.subject import TunedSubject
from likeness_runtime.method.forms import with_article
from likeness_runtime.method.predictor import START_WORD

CARD = """\
---
{front}---
# {name}

`{token}`, learned from {images} in {steps} steps on `{base}`.
The nearest word of the model's vocabulary is *{nearest}*.
{start}

![preview](previews/00.png)

## diffusers
```python
{load}
image = pipe("a photo of a {token}").images[0]
```

## diffusers, with both paths
As the previews were drawn; needs the package `likeness-tuner`. Guidance leads away from the model without the subject.
```python
from likeness_runtime.pipeline import load_likeness

pipe = load_likeness("personalization.json").apply(pipe)
image = pipe("a photo of a {token}").images[0]
```

## ComfyUI
1. Put `{kohya}` into `models/loras` and `{embedding}` into `models/embeddings`.
2. Add a *Load LoRA* node with `{kohya}`, strength 1.
3. Write `a embedding:{word}` in the prompt.

## A1111 / Forge
1. Put `{kohya}` into `models/Lora` and `{embedding}` into `embeddings`.
2. Write `<lora:{name}:1>` in the prompt.
3. Write `a {word}` where the subject is meant.
"""
LOAD_LORA = 'pipe.load_lora_weights(".", weight_name="{lora}")'


def card_file(subject: TunedSubject) -> File:
    load = f"{LOAD_LORA}\n{subject.base.names.load_embedding}"
    named = {"lora": subject.lora_file, "embedding": subject.embedding_file, "token": subject.token}
    images = len(subject.images)
    text = CARD.format(
        front=_front(subject),
        name=subject.name,
        images="one picture" if images == 1 else f"{images} pictures",
        steps=subject.tuning.steps,
        base=subject.base.name,
        nearest=subject.nearest_word,
        start=_start(subject),
        load=load.format(**named),
        kohya=subject.kohya_file,
        word=subject.word,
        **named,
    )
    return File("README.md", "model-card", "text/markdown; charset=utf-8", text.encode())


def _start(subject: TunedSubject) -> str:
    if subject.encoder:
        return f"Tuning started from what the encoder `{subject.encoder.name}` predicted from the pictures."
    return (
        f"No encoder predicted where to start: tuning started from the word *{START_WORD}*, so expect much less"
        " likeness than with an encoder made for this model."
    )


def _front(subject: TunedSubject) -> str:
    front = {
        "base_model": subject.base.name,
        "instance_prompt": with_article(subject.token),
        "library_name": "diffusers",
        "tags": ["text-to-image", "diffusers", "lora", "template:diffusion-lora"],
        "widget": [
            {"text": each.prompt, "output": {"url": f"previews/{index:02d}.png"}}
            for index, each in enumerate(subject.previews)
        ],
    }
    text: str = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return text
