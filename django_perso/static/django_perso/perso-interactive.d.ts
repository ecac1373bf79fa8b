/**
 * Types of Perso's SDK, versions 1.0.0 to 1.6.1: the global `PersoInteractive`, as far as
 * <perso-avatar> and pages that call it themselves need it. The SDK has more, and later
 * versions have more than earlier ones.
 */

declare namespace PersoInteractive {
  /**
   * Joins a session that the server has created. With these six arguments it works in every
   * version; 1.0 and 1.1 take no fewer.
   */
  function createSession(
    apiServer: string,
    sessionId: string,
    width: number,
    height: number,
    /** Asks for the microphone at once. Without it, silence is sent in its place. */
    enableVoiceChat: boolean,
    clientTools: ChatTool[],
  ): Promise<Session>;

  /** A function of the page that the model can call. */
  class ChatTool {
    constructor(
      name: string,
      description: string,
      /** JSON Schema of the argument; the SDK does not validate it. */
      parameters: object,
      call: (args: any) => object | Promise<object>,
      /** The model does not answer to the result. */
      executeOnly?: boolean,
    );
    name: string;
    description: string;
    parameters: object;
    call: (args: any) => object | Promise<object>;
    executeOnly: boolean;
  }

  /** What the avatar is doing. A set of these is published; an empty one means nothing. */
  const ChatState: {
    readonly RECORDING: "RECORDING";
    readonly LLM: "LLM";
    readonly ANALYZING: "ANALYZING";
    readonly SPEAKING: "SPEAKING";
  };

  /** One line of a conversation. */
  interface Chat {
    text: string;
    isUser: boolean;
    timestamp: Date;
  }

  /** Ends a subscription. */
  type Unsubscribe = () => void;

  /** A live conversation. After its end, most methods throw. */
  interface Session {
    readonly apiServer: string;
    readonly sessionId: string;
    readonly clientTools: ChatTool[];
    /** The connection; null from 1.2 on if the session has no video. */
    readonly perso: Connection | null;

    /** Sends a text to the model. Resolves at once; the answer comes by log and states. */
    processChat(text: string): Promise<void>;
    /** Lets the avatar speak as part of the conversation. */
    processTTSTF(text: string): void;
    /** Stops the speech and the answer. Waits for the answer's next line. */
    clearBuffer(): Promise<void>;

    startVoiceChat(): void;
    stopVoiceChat(): void;
    /** Takes what was understood, which may be empty, and would go to the model without it. */
    setSttResultCallback(run: (text: string) => void): Unsubscribe;

    /** Shows the avatar in a video element. */
    setSrc(video: HTMLVideoElement): void;
    getRemoteStream(): MediaStream | undefined;
    /** The microphone, or silence; null from 1.2 on without the argument for it. */
    getLocalStream(): MediaStream | null;
    changeSize(width: number, height: number): void;

    /** Ends the session, but does not stop the tracks of the microphone. */
    stopSession(): void;
    /** `isManual` is true after `stopSession()`. */
    onClose(run: (isManual: boolean) => void): Unsubscribe;
    setErrorHandler(run: (error: Error) => void): Unsubscribe;
    /** Not called with the current states, only when they change. */
    subscribeChatStates(run: (states: Set<string>) => void): Unsubscribe;
    /** Called with the whole log each time, the newest line first. */
    subscribeChatLog(run: (log: Chat[]) => void): Unsubscribe;
  }

  /** The peer connection to the avatar, and the channel of its messages. */
  interface Connection {
    readonly pc: RTCPeerConnection;
    readonly dc: RTCDataChannel;
  }
}
