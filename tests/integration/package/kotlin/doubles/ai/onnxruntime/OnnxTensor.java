package ai.onnxruntime;

import java.nio.FloatBuffer;
import java.nio.LongBuffer;

public class OnnxTensor extends OnnxTensorLike {
  final LongBuffer wholes;
  final long[] shape;
  private final FloatBuffer floats;
  private boolean closed;

  OnnxTensor(LongBuffer wholes, FloatBuffer floats, long[] shape) {
    this.wholes = wholes;
    this.floats = floats;
    this.shape = shape;
    OrtEnvironment.open(this);
  }

  public static OnnxTensor createTensor(OrtEnvironment environment, LongBuffer data, long[] shape)
      throws OrtException {
    if (data.remaining() != shape[0] * shape[1]) {
      throw new OrtException("the shape is another one");
    }
    return new OnnxTensor(data.duplicate(), null, shape.clone());
  }

  public FloatBuffer getFloatBuffer() {
    if (closed) {
      throw new IllegalStateException("closed");
    }
    return floats == null ? null : floats.duplicate();
  }

  @Override
  public void close() {
    closed = true;
    OrtEnvironment.closed(this);
  }
}
