"""A web app for one question: `pip install emo-client gradio`, `emo-serve serve`, `python gradio_app.py`."""

import gradio
from emo_client import Client
from PIL import Image

client = Client("http://localhost:8000")


def look(photo: Image.Image) -> tuple[dict[str, float], Image.Image]:
    """What the photo shows, and the photo with the objects that were found."""
    classes = {entry.name: entry.score for entry in client.classify(photo).classifications}
    return classes, client.detect(photo).plot(photo)


app = gradio.Interface(look, gradio.Image(type="pil"), [gradio.Label(), gradio.Image()], title="emo-serve")

if __name__ == "__main__":
    app.launch()
