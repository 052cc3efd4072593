package ai.onnxruntime;

import java.nio.ByteBuffer;
import java.util.Collections;
import java.util.HashSet;
import java.util.Set;

public final class OrtEnvironment implements AutoCloseable {
  private static final Set<Object> OPEN = Collections.synchronizedSet(new HashSet<>());

  public static OrtEnvironment getEnvironment() {
    return new OrtEnvironment();
  }

  public OrtSession createSession(ByteBuffer model, OrtSession.SessionOptions options)
      throws OrtException {
    if (!model.isDirect() || model.remaining() == 0) {
      throw new OrtException("the model is not mapped");
    }
    return new OrtSession(options);
  }

  static void open(Object one) {
    OPEN.add(one);
  }

  static void closed(Object one) {
    if (!OPEN.remove(one)) {
      throw new IllegalStateException("closed twice");
    }
  }

  /** How many tensors, sessions and options nobody has closed. */
  public static int left() {
    return OPEN.size();
  }

  @Override
  public void close() {}
}
