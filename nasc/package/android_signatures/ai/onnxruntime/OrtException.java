// SPDX-License-Identifier: Apache-2.0
package ai.onnxruntime;

public class OrtException extends Exception {}
