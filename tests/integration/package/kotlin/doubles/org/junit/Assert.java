package org.junit;

public class Assert {
  public static void assertEquals(Object expected, Object actual) {
    if (!expected.equals(actual)) {
      throw new AssertionError("expected " + expected + ", got " + actual);
    }
  }

  public static void assertTrue(String message, boolean holds) {
    if (!holds) {
      throw new AssertionError(message);
    }
  }
}
