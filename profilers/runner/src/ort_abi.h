/* The part of ONNX Runtime's C interface that the runner calls.
 *
 * OrtGetApiBase gives a table of functions to which releases append and of which they never move
 * an entry, so the numbers of the entries are enough and no header of ONNX Runtime is needed.
 * With ORT_ABI_CHECK, check_abi.c compares the numbers with a real header. */
#ifndef NASC_ORT_ABI_H
#define NASC_ORT_ABI_H

#ifndef ORT_ABI_CHECK

#include <stddef.h>
#include <stdint.h>

typedef struct OrtStatus OrtStatus;
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtValue OrtValue;
typedef struct OrtAllocator OrtAllocator;
typedef struct OrtTypeInfo OrtTypeInfo;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef struct OrtModelMetadata OrtModelMetadata;

/* Enumerations, as the numbers that they are passed as. */
typedef int OrtErrorCode;
typedef int OrtLoggingLevel;
typedef int ExecutionMode;
typedef int GraphOptimizationLevel;
typedef int ONNXType;
typedef int ONNXTensorElementDataType;

enum {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16
};

enum {
  ONNX_TYPE_UNKNOWN,
  ONNX_TYPE_TENSOR,
  ONNX_TYPE_SEQUENCE,
  ONNX_TYPE_MAP,
  ONNX_TYPE_OPAQUE,
  ONNX_TYPE_SPARSETENSOR,
  ONNX_TYPE_OPTIONAL
};

enum { ORT_LOGGING_LEVEL_ERROR = 3 };
enum { ORT_SEQUENTIAL = 0 };
enum { ORT_DISABLE_ALL = 0, ORT_ENABLE_BASIC = 1, ORT_ENABLE_EXTENDED = 2, ORT_ENABLE_ALL = 99 };

#endif

/* Version of the table that is asked for: ONNX Runtime 1.17 and later have it. */
enum { ORT_ABI_VERSION = 17 };

/* Number, name, result and arguments of an entry. */
#define ORT_ABI_ENTRIES(ENTRY)                                                                     \
  ENTRY(1, GetErrorCode, OrtErrorCode, (const OrtStatus *))                                        \
  ENTRY(2, GetErrorMessage, const char *, (const OrtStatus *))                                     \
  ENTRY(3, CreateEnv, OrtStatus *, (OrtLoggingLevel, const char *, OrtEnv **))                     \
  ENTRY(7, CreateSession, OrtStatus *,                                                             \
        (const OrtEnv *, const char *, const OrtSessionOptions *, OrtSession **))                  \
  ENTRY(9, Run, OrtStatus *,                                                                       \
        (OrtSession *, const OrtRunOptions *, const char *const *, const OrtValue *const *,        \
         size_t, const char *const *, size_t, OrtValue **))                                        \
  ENTRY(10, CreateSessionOptions, OrtStatus *, (OrtSessionOptions **))                             \
  ENTRY(13, SetSessionExecutionMode, OrtStatus *, (OrtSessionOptions *, ExecutionMode))            \
  ENTRY(18, EnableCpuMemArena, OrtStatus *, (OrtSessionOptions *))                                 \
  ENTRY(19, DisableCpuMemArena, OrtStatus *, (OrtSessionOptions *))                                \
  ENTRY(22, SetSessionLogSeverityLevel, OrtStatus *, (OrtSessionOptions *, int))                   \
  ENTRY(23, SetSessionGraphOptimizationLevel, OrtStatus *,                                         \
        (OrtSessionOptions *, GraphOptimizationLevel))                                             \
  ENTRY(24, SetIntraOpNumThreads, OrtStatus *, (OrtSessionOptions *, int))                         \
  ENTRY(25, SetInterOpNumThreads, OrtStatus *, (OrtSessionOptions *, int))                         \
  ENTRY(30, SessionGetInputCount, OrtStatus *, (const OrtSession *, size_t *))                     \
  ENTRY(31, SessionGetOutputCount, OrtStatus *, (const OrtSession *, size_t *))                    \
  ENTRY(33, SessionGetInputTypeInfo, OrtStatus *, (const OrtSession *, size_t, OrtTypeInfo **))    \
  ENTRY(34, SessionGetOutputTypeInfo, OrtStatus *, (const OrtSession *, size_t, OrtTypeInfo **))   \
  ENTRY(36, SessionGetInputName, OrtStatus *,                                                      \
        (const OrtSession *, size_t, OrtAllocator *, char **))                                     \
  ENTRY(37, SessionGetOutputName, OrtStatus *,                                                     \
        (const OrtSession *, size_t, OrtAllocator *, char **))                                     \
  ENTRY(48, CreateTensorAsOrtValue, OrtStatus *,                                                   \
        (OrtAllocator *, const int64_t *, size_t, ONNXTensorElementDataType, OrtValue **))         \
  ENTRY(50, IsTensor, OrtStatus *, (const OrtValue *, int *))                                      \
  ENTRY(51, GetTensorMutableData, OrtStatus *, (OrtValue *, void **))                              \
  ENTRY(55, CastTypeInfoToTensorInfo, OrtStatus *,                                                 \
        (const OrtTypeInfo *, const OrtTensorTypeAndShapeInfo **))                                 \
  ENTRY(56, GetOnnxTypeFromTypeInfo, OrtStatus *, (const OrtTypeInfo *, ONNXType *))               \
  ENTRY(60, GetTensorElementType, OrtStatus *,                                                     \
        (const OrtTensorTypeAndShapeInfo *, ONNXTensorElementDataType *))                          \
  ENTRY(61, GetDimensionsCount, OrtStatus *, (const OrtTensorTypeAndShapeInfo *, size_t *))        \
  ENTRY(62, GetDimensions, OrtStatus *, (const OrtTensorTypeAndShapeInfo *, int64_t *, size_t))    \
  ENTRY(63, GetSymbolicDimensions, OrtStatus *,                                                    \
        (const OrtTensorTypeAndShapeInfo *, const char **, size_t))                                \
  ENTRY(64, GetTensorShapeElementCount, OrtStatus *,                                               \
        (const OrtTensorTypeAndShapeInfo *, size_t *))                                             \
  ENTRY(65, GetTensorTypeAndShape, OrtStatus *,                                                    \
        (const OrtValue *, OrtTensorTypeAndShapeInfo **))                                          \
  ENTRY(76, AllocatorFree, OrtStatus *, (OrtAllocator *, void *))                                  \
  ENTRY(78, GetAllocatorWithDefaultOptions, OrtStatus *, (OrtAllocator **))                        \
  ENTRY(92, ReleaseEnv, void, (OrtEnv *))                                                          \
  ENTRY(93, ReleaseStatus, void, (OrtStatus *))                                                    \
  ENTRY(95, ReleaseSession, void, (OrtSession *))                                                  \
  ENTRY(96, ReleaseValue, void, (OrtValue *))                                                      \
  ENTRY(98, ReleaseTypeInfo, void, (OrtTypeInfo *))                                                \
  ENTRY(99, ReleaseTensorTypeAndShapeInfo, void, (OrtTensorTypeAndShapeInfo *))                    \
  ENTRY(100, ReleaseSessionOptions, void, (OrtSessionOptions *))                                   \
  ENTRY(111, SessionGetModelMetadata, OrtStatus *, (const OrtSession *, OrtModelMetadata **))      \
  ENTRY(116, ModelMetadataLookupCustomMetadataMap, OrtStatus *,                                    \
        (const OrtModelMetadata *, OrtAllocator *, const char *, char **))                         \
  ENTRY(118, ReleaseModelMetadata, void, (OrtModelMetadata *))                                     \
  ENTRY(123, ModelMetadataGetCustomMetadataMapKeys, OrtStatus *,                                   \
        (const OrtModelMetadata *, OrtAllocator *, char ***, int64_t *))                           \
  ENTRY(130, AddSessionConfigEntry, OrtStatus *,                                                   \
        (OrtSessionOptions *, const char *, const char *))

#define ORT_ABI_NUMBER(number, name, result, arguments) ORT_##name = number,
enum ort_entry { ORT_ABI_ENTRIES(ORT_ABI_NUMBER) ORT_ABI_LENGTH = 131 };

#ifndef ORT_ABI_CHECK

typedef struct {
  void (*entries[ORT_ABI_LENGTH])(void);
} OrtApi;

typedef struct {
  const OrtApi *(*GetApi)(uint32_t version);
  const char *(*GetVersionString)(void);
} OrtApiBase;

#define ORT_ABI_TYPE(number, name, result, arguments) typedef result(*ort_type_##name) arguments;
ORT_ABI_ENTRIES(ORT_ABI_TYPE)

/* ORT(api, Run)(session, ...) calls an entry. */
#define ORT(api, name) ((ort_type_##name)(api)->entries[ORT_##name])

#endif

#endif
