package ai.onnxruntime;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.util.Map;
import java.util.Set;

public class OrtSession implements AutoCloseable {
  private static final DataInputStream ANSWERS = new DataInputStream(System.in);
  private static final DataOutputStream REQUESTS = new DataOutputStream(System.out);
  private final SessionOptions options;

  OrtSession(SessionOptions options) {
    this.options = options;
    OrtEnvironment.open(this);
  }

  /** Whole numbers of 64 bits, big-endian: rows, tokens, ids, mask; back come the vectors. */
  public Result run(Map<String, ? extends OnnxTensorLike> inputs, Set<String> outputs)
      throws OrtException {
    if (options.closed) {
      throw new OrtException("options were closed before their session");
    }
    if (!inputs.keySet().equals(Set.of("input_ids", "attention_mask")) || outputs.size() != 1) {
      throw new OrtException("other inputs or outputs");
    }
    OnnxTensor ids = (OnnxTensor) inputs.get("input_ids");
    OnnxTensor mask = (OnnxTensor) inputs.get("attention_mask");
    synchronized (REQUESTS) {
      try {
        REQUESTS.writeUTF(outputs.iterator().next());
        for (long size : ids.shape) {
          REQUESTS.writeLong(size);
        }
        for (OnnxTensor tensor : new OnnxTensor[] {ids, mask}) {
          for (int i = 0; i < tensor.wholes.limit(); i++) {
            REQUESTS.writeLong(tensor.wholes.get(i));
          }
        }
        REQUESTS.flush();
        float[] found = new float[ANSWERS.readInt()];
        for (int i = 0; i < found.length; i++) {
          found[i] = ANSWERS.readFloat();
        }
        return new Result(new OnnxTensor(null, FloatBuffer.wrap(found), null));
      } catch (IOException error) {
        throw new OrtException(error.toString());
      }
    }
  }

  @Override
  public void close() throws OrtException {
    OrtEnvironment.closed(this);
  }

  public static class Result implements AutoCloseable {
    private final OnnxValue value;

    Result(OnnxValue value) {
      this.value = value;
    }

    public OnnxValue get(int index) {
      return value;
    }

    @Override
    public void close() {
      value.close();
    }
  }

  public static class SessionOptions implements AutoCloseable {
    boolean closed;

    public SessionOptions() {
      OrtEnvironment.open(this);
    }

    public enum OptLevel {
      NO_OPT,
      BASIC_OPT,
      EXTENDED_OPT,
      ALL_OPT
    }

    public enum ExecutionMode {
      SEQUENTIAL,
      PARALLEL
    }

    public void setIntraOpNumThreads(int threads) throws OrtException {}

    public void setInterOpNumThreads(int threads) throws OrtException {}

    public void setExecutionMode(ExecutionMode mode) throws OrtException {}

    public void setOptimizationLevel(OptLevel level) throws OrtException {}

    public void addConfigEntry(String key, String value) throws OrtException {
      if (!key.startsWith("session.use_ort_model_bytes_") || !value.equals("1")) {
        throw new OrtException("no entry that it knows");
      }
    }

    @Override
    public void close() {
      closed = true;
      OrtEnvironment.closed(this);
    }
  }
}
