// SPDX-License-Identifier: Apache-2.0
package ai.onnxruntime;

import java.util.Map;
import java.util.Set;

public class OrtSession implements AutoCloseable {
  public native Result run(Map<String, ? extends OnnxTensorLike> inputs, Set<String> outputs)
      throws OrtException;

  @Override
  public native void close() throws OrtException;

  public static class Result implements AutoCloseable {
    public native OnnxValue get(int index);

    @Override
    public native void close();
  }

  public static class SessionOptions implements AutoCloseable {
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

    public native void setIntraOpNumThreads(int threads) throws OrtException;

    public native void setInterOpNumThreads(int threads) throws OrtException;

    public native void setExecutionMode(ExecutionMode mode) throws OrtException;

    public native void setOptimizationLevel(OptLevel level) throws OrtException;

    public native void addConfigEntry(String key, String value) throws OrtException;

    @Override
    public native void close();
  }
}
